"""Drawing new codes from priors, window by window, from the top level down."""
