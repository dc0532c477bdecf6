"""The errors that blame the input, not the program."""

_LONGEST = 1000


class InputError(ValueError):
    """Bad input from outside: a file, a flag, a configuration, a text.

    The message is one sentence that names the thing, its value and what would be right. The command line prints it as
    it is and exits with code 2. If a value makes the sentence very long, its middle is cut out.
    """

    def __init__(self, sentence: str) -> None:
        sentence = sentence.replace("\n", "\\n")  # names may hold newlines; the message stays on one line
        cut = len(sentence) > _LONGEST
        super().__init__(f"{sentence[: _LONGEST // 2]} … {sentence[-_LONGEST // 2 :]}" if cut else sentence)


class DamagedError(InputError):
    """A file is not as it was written, or cannot be read."""
