"""A picture with a second version for narrow pages, ``NAME-narrow.svg`` beside ``NAME.svg``: the browser chooses."""

import posixpath
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor

NARROW = "(max-width: 44em)"

_page: Any = None
_files: Any = None


def on_config(config: Any) -> None:
    config.markdown_extensions.append(Pictures())


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> None:
    global _page, _files
    _page, _files = page.file, files


class Pictures(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.treeprocessors.register(NarrowPictures(md), "narrow-pictures", 2)  # before MkDocs' own, which has 0


class NarrowPictures(Treeprocessor):
    def run(self, root: Element) -> None:
        parents = [parent for parent in root.iter() if any(child.tag == "img" for child in parent)]
        for parent in parents:
            for place, image in enumerate(parent):
                source = image.get("src", "")
                narrow = source.removesuffix(".svg") + "-narrow.svg"
                if image.tag == "img" and source.endswith(".svg") and _is_there(narrow):
                    both = Element("picture")
                    both.tail, image.tail = image.tail, None
                    SubElement(both, "source", media=NARROW, srcset=narrow)
                    both.append(image)
                    parent[place] = both


def _is_there(picture: str) -> bool:
    place = posixpath.normpath(posixpath.join(posixpath.dirname(_page.src_uri), picture))
    return _files.get_file_from_path(place) is not None
