"""What the home page shows of the README: ``<!-- output of: COMMAND -->`` becomes the command and what it prints.

``COMMAND or COMMAND`` takes whichever the README shows. ``<!-- output of: COMMAND, before: WORDS -->`` ends before the
first line that begins with these words.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_WANTED = re.compile(r"^<!-- output of: (.+?)(?:, before: (.+))? -->$", flags=re.MULTILINE)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    root = Path(config.config_file_path).parent
    return _WANTED.sub(lambda wanted: shown(wanted[1], wanted[2], root), markdown)


def shown(command: str, end: str | None, root: Path) -> str:
    """The command as it is written before its output, and the output.

    Takes the first that the README, or else a page of ``docs/``, shows.
    """
    for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        for said, output in _outputs(path.read_text(encoding="utf-8")):
            for line in said:
                if any(line == one or line.startswith(f"{one} ") for one in command.split(" or ")):
                    kept = output if end is None else re.split(rf"^{re.escape(end)}", output, flags=re.MULTILINE)[0]
                    cut = "" if kept == output else "...\n"
                    return f"```sh\n{line.partition('  #')[0].rstrip()}\n```\n\n```text\n{kept.rstrip()}\n{cut}```"
    raise PluginError(f"neither README.md nor a page of docs/ shows what {command} prints")


def _outputs(text: str) -> list[tuple[list[str], str]]:
    """Each output, with the commands before it: in the paragraph above it, or in the block before that paragraph."""
    found, last = [], 0
    commands: list[str] = []
    for block in _BLOCK.finditer(text):
        between = text[last : block.start()].strip()
        last = block.end()
        if re.search(r"^#", between, flags=re.MULTILINE):
            commands = []
        if block[1] == "text":
            in_paragraph = re.findall(r"`([^`\n]+)`", between.rpartition("\n\n")[2])
            found.append(([*in_paragraph, *commands], block[2]))
        commands = block[2].splitlines() if block[1] == "sh" else []
    return found
