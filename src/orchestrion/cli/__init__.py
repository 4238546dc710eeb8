"""Words on a command line: parse, call, show. Heavy imports wait until a command runs."""
