"""Links from ``docs/`` to files of the repository: to the reference if it shows the file, else plain text.

The site may be anywhere, without the files beside it.
"""

import posixpath
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import operations
from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

_page: Any = None
_files: Any = None
_docs: Path = Path()


def on_config(config: Any) -> None:
    global _docs
    _docs = Path(config.docs_dir)
    config.markdown_extensions.append(Links())


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> None:
    global _page, _files
    _page, _files = page.file, files


class Links(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.treeprocessors.register(OutwardLinks(md), "outward-links", 1)  # before MkDocs' own, which has 0


class OutwardLinks(Treeprocessor):
    def run(self, root: Element) -> None:
        for link in root.iter("a"):
            target = link.get("href", "").partition("#")[0]
            here = posixpath.dirname(_page.src_uri)
            target = posixpath.normpath(posixpath.join(here, target))
            if target.startswith("../") and (_docs / target).exists():  # else MkDocs warns
                shown_at = _in_reference(target)
                if shown_at:
                    link.set("href", posixpath.relpath(shown_at, here))
                else:
                    link.tag = "code" if link.find("code") is None else "span"
                    del link.attrib["href"]


def _in_reference(target: str) -> str | None:
    """The page, with its anchor, that shows this module."""
    module = target.removeprefix("../src/").removesuffix(".py").replace("/", ".")
    if module.startswith("handgrad.ops") and any(file.src_uri.startswith("reference/") for file in _files):
        return operations.shown_at(module)
    for file in _files:
        if file.src_uri.startswith("reference/") and f"::: {module}\n" in file.content_string:
            first = file.content_string.index(":::") == file.content_string.index(f"::: {module}\n")
            return file.src_uri if first else f"{file.src_uri}#{module}"
    return None
