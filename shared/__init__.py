"""The thin package that every paper folder stands on."""


class UserError(Exception):
    """A mistake the user can mend. The command line prints it as one sentence and exits with status 1.

    The message names the file or option, what was found, what was expected, and the next step.
    """
