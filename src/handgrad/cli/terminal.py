"""Text on a terminal: what would steer the terminal is shown instead. In files and pipes every byte stays as it is."""

import re
import sys
from typing import Any

# Control characters apart from tabs and new lines, and those that change the direction of the text around them.
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str, stream: Any) -> str:
    """The text as it is or, if the stream is a terminal, with escape codes and the like shown as \\x1b."""
    return shown_as_text(text) if is_terminal(stream) else text


def shown_as_text(text: str) -> str:
    """The text with characters that steer a terminal written out: \\x1b, \\u202e."""
    return _STEERS.sub(lambda found: _written_out(ord(found[0])), text)


def show(text: str = "", end: str = "\n", flush: bool = False) -> None:
    """Prints text that may come from a file."""
    print(printable(text, sys.stdout), end=end, flush=flush)


def _written_out(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def is_terminal(stream: Any) -> bool:
    """Whether somebody sees on a screen what is printed there."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, or closed
        return False
