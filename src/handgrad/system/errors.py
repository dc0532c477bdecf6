"""The one error that means: what came in is wrong, not the program."""

_LONGEST = 1000


class InputError(ValueError):
    """Bad input from outside: a file, a flag, a configuration, a text.

    The message is one sentence that names the thing, its value and what would be right; the command line
    prints it as it is and exits with code 2. Where a value makes it very long its middle is left out.
    """

    def __init__(self, sentence: str) -> None:
        sentence = sentence.replace("\n", "\\n")  # of a name: what it takes one line to say stays on one
        cut = len(sentence) > _LONGEST
        super().__init__(f"{sentence[: _LONGEST // 2]} … {sentence[-_LONGEST // 2 :]}" if cut else sentence)
