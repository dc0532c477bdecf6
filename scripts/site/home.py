"""What the home page shows of the README: ``<!-- output of: COMMAND -->`` becomes the command and what it prints."""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_WANTED = re.compile(r"^<!-- output of: (.+) -->$", flags=re.MULTILINE)
_OUTPUT = re.compile(r"^```text\n.*?^```$", flags=re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    root = Path(config.config_file_path).parent
    return _WANTED.sub(lambda wanted: shown(wanted[1], root), markdown)


def shown(command: str, root: Path) -> str:
    """The command as it is written before its output, and the output.

    Takes the first that the README, or else a page of ``docs/``, shows: the paragraph or the block above an output
    names the command.
    """
    for path in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        for output in _OUTPUT.finditer(text):
            above = text[: output.start()].rstrip()
            block = re.search(r"```sh\n((?:(?!```)[\s\S])*)\n```$", above)
            said = block[1].splitlines() if block else re.findall(r"`([^`]+)`", above.rpartition("\n\n")[2])
            for line in said:
                if line == command or line.startswith(f"{command} "):
                    return f"```sh\n{line.partition('  #')[0].rstrip()}\n```\n\n{output[0]}"
    raise PluginError(f"neither README.md nor a page of docs/ shows what {command} prints")
