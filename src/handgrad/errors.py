"""The one error that means: what came in is wrong, not the program."""


class InputError(ValueError):
    """Bad input from outside: a file, a flag, a configuration, a text.

    The message is one sentence that names the thing, its value and what would be right; the command line
    prints it as it is and exits with code 2.
    """
