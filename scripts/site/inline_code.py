"""Code within text: GitHub needs ``\\|`` for a pipe in a table's code, and a browser must not break ``--flags``."""

from typing import Any
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString


def on_config(config: Any) -> None:
    config.markdown_extensions.append(InlineCode())


class InlineCode(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.treeprocessors.register(WholeWords(md), "whole-words", 15)  # after the inline patterns, which have 20


class WholeWords(Treeprocessor):
    def run(self, root: Element) -> None:
        for cell in root.iter("td"):
            for code in cell.iter("code"):
                code.text = AtomicString((code.text or "").replace("\\|", "|"))
        in_blocks = {code for block in root.iter("pre") for code in block.iter("code")}
        for code in list(root.iter("code")):
            if code not in in_blocks and "-" in (code.text or ""):
                _keep_words_whole(code)


def _keep_words_whole(code: Element) -> None:
    words = (code.text or "").split(" ")
    code.text = AtomicString("")
    last: Element | None = None
    for place, word in enumerate(words):
        space = " " if place else ""
        if "-" in word and len(word) < 30:
            if last is None:
                code.text = AtomicString((code.text or "") + space)
            else:
                last.tail = AtomicString((last.tail or "") + space)
            last = SubElement(code, "span", {"class": "whole"})
            last.text = AtomicString(word)
        elif last is None:
            code.text = AtomicString((code.text or "") + space + word)
        else:
            last.tail = AtomicString((last.tail or "") + space + word)
