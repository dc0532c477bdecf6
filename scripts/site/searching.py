"""What the search reads, prose and headings without code, outputs and formulas, and what it shows first."""

import re
from typing import Any

# Material leaves out what has this attribute, and then removes it.
_LEFT_OUT = re.compile(r'<(math|(?:div|details) class="(?:[^"]*\bhighlight\b[^"]*|mkdocstrings-source)")')


def on_page_content(html: str, **_: Any) -> str:
    return _LEFT_OUT.sub(r'<\1 data-search-exclude="code"', html)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> None:
    place = page.file.src_uri
    if place == "commands.md":
        boost = 8.0
    elif not place.startswith("reference/"):
        boost = 2.4
    elif place.startswith("reference/ops/"):
        # The search finds softmax in log_softmax too: the shorter name comes first.
        boost = 3.0 / len(page.file.name.split("_"))
    else:
        boost = 1.0
    page.meta["search"] = {"boost": boost}
