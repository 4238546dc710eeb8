"""The one kind of error that is a person's to fix."""


class UserError(Exception):
    """Something the caller can fix: `problem` says what is wrong, `hint` the way out.

    The command line prints it as one plain message and exits with status 2.

    >>> str(UserError("song.flac exists", "choose another name, or add --force"))
    'song.flac exists: choose another name, or add --force'
    """

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(f"{problem}: {hint}" if hint else problem)
        self.problem = problem
        self.hint = hint

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        return UserError, (self.problem, self.hint)  # so that it comes whole out of another process
