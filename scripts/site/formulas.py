"""Formulas of Markdown, ``$...$`` in a line and ``$$...$$`` by itself, as MathML, which browsers draw themselves."""

import html
import itertools
import logging
import re
from typing import Any
from xml.etree.ElementTree import Element, tostring

from latex2mathml.converter import convert_to_element
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor

ENVIRONMENTS = {"align*", "array", "bmatrix", "cases", "matrix", "pmatrix", "vmatrix"}
# GitHub's spelling, and latex2mathml's for the same.
SPELLINGS = (
    (r"\\(begin|end)\{aligned\}", r"\\\1{align*}"),
    (r"\\operatorname\*?\{(\w+)(\\,|\\ |~)(\w+)\}", r"\\operatorname{\1}\\operatorname{\3}"),
    (r"\\operatorname\*", r"\\operatorname"),
    (r"\\arg(?![a-zA-Z])", r"\\operatorname{arg}"),
    (r"\\mathrm\{", r"\\text{"),
    (r"\\sim(?![a-zA-Z])", r"\\thicksim"),
)

LINES = ("\u2015",)
"""latex2mathml's sign for the line of \\overline and \\underline."""

log = logging.getLogger("mkdocs.hooks.formulas")
_page = ""


def on_config(config: Any) -> None:
    config.markdown_extensions.append(Formulas())


def on_page_markdown(markdown: str, page: Any, **_: Any) -> None:
    global _page
    _page = page.file.src_uri


class Formulas(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.ESCAPED_CHARS.append("$")
        # Before escapes and emphasis (180 and below), after code (190).
        md.inlinePatterns.register(Formula(r"(?<!\\)\$\$(.*?)\$\$", md, "block"), "display-formula", 187)
        md.inlinePatterns.register(
            Formula(r"(?<![\\$\w])\$(?![\s$])((?:\\.|[^\\$])+?)(?<!\s)\$(?![\w$])", md, "inline"), "formula", 186
        )
        md.inlinePatterns.register(Unfinished(r"(?<!\\)\$\$", md), "unfinished-formula", 185)


class Formula(InlineProcessor):
    def __init__(self, pattern: str, md: Markdown, display: str) -> None:
        super().__init__(pattern, md)
        self.display = display

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        tex = m.group(1).strip()
        try:
            parts = parts_of(tex) if self.display == "block" else [tex]
            drawn = "".join(mathml(part, self.display) for part in parts)
        except ValueError as error:
            log.warning("%s: unreadable formula %r: %s", _page, tex, error)
            drawn = ""
        if self.display == "block":
            drawn = f'<span class="formula" tabindex="0">{drawn}</span>'
        return self.md.htmlStash.store(drawn), m.start(0), m.end(0)


class Unfinished(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # noqa: N802
        log.warning("%s: a formula does not end: %r", _page, data[m.start() :])
        return "", m.start(0), m.end(0)


def parts_of(tex: str) -> list[str]:
    """Formulas that stand side by side, with ``\\qquad`` between them: a narrow page shows them one below another."""
    parts, depth = [""], 0
    for token in re.split(r"(\\qquad(?![a-zA-Z])|\\(?:begin|end|left|right)(?![a-zA-Z])|\\.|[{}])", tex):
        depth += token in ("{", "\\begin", "\\left")
        depth -= token in ("}", "\\end", "\\right")
        if token != "\\qquad" or depth:
            parts[-1] += token
        elif parts[-1].strip() == "\\Rightarrow":  # stays with what follows
            parts[-1] += "\\quad "
        else:
            parts.append("")
    return parts


def mathml(tex: str, display: str = "inline") -> str:
    """Raises ValueError for TeX that cannot be read."""
    if not tex:
        raise ValueError("it is empty")
    for pattern, spelling in SPELLINGS:
        tex = re.sub(pattern, spelling, tex)
    for environment in re.findall(r"\\begin\{(.*?)\}", tex):
        if environment not in ENVIRONMENTS:
            raise ValueError(f"unknown environment {environment}")
    try:
        math = convert_to_element(tex, display=display)
    except Exception as error:  # of many kinds
        raise ValueError(f"{type(error).__name__} {error}".strip()) from None
    for element in math.iter():
        _mend(element)
    for element in list(math.iter()):
        _space_functions(element)
    return tostring(math, encoding="unicode")


def _mend(element: Element) -> None:
    """latex2mathml passes unknown commands on unchanged, and TeX sets some signs closer than MathML does."""
    text = element.text = html.unescape(element.text or "")
    if "\\" in text or (element.tag == "mi" and text in ("&", "{", "}")):
        raise ValueError(f"{text} is not understood")
    if text in ("∂", "∇"):
        element.tag = "mi"
    elif element.tag == "mo" and (text == "/" or _is_function(element)):
        element.attrib |= {"lspace": "0", "rspace": "0"}
    elif element.tag in ("mover", "munder") and html.unescape(element[1].text or "") in LINES:
        # Chromium does not stretch latex2mathml's line over what it belongs to; a border is always as long.
        element.remove(element[1])
        element.set("class", "line-over" if element.tag == "mover" else "line-under")
        element.tag = "mrow"


def _is_function(element: Element) -> bool:
    """Whether it is a function such as log or max, with or without indices."""
    core = element[0] if element.tag in ("msub", "msup", "msubsup", "munder", "mover", "munderover") else element
    return core.tag in ("mi", "mo") and len(core.text or "") > 1 and (core.text or "").isalpha()


def _space_functions(parent: Element) -> None:
    """Puts a thin space between a function and its neighbour, unless that is an operator or a bracket."""
    if parent.tag not in ("math", "mrow", "mtd", "mstyle", "msqrt"):
        return
    for place, (left, right) in reversed(list(enumerate(itertools.pairwise(parent), start=1))):
        beside = (left, right[0] if right.tag == "mrow" and len(right) else right)
        functions = [_is_function(element) for element in beside]
        signs = [element.tag in ("mo", "mspace") for element in beside]
        if any(functions) and not any(sign and not function for sign, function in zip(signs, functions, strict=True)):
            parent.insert(place, Element("mspace", width="0.167em"))
