"""The notebook as a page, with the outputs that it holds."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

NOTEBOOK = "examples/first_gpt.ipynb"
PAGE = "first-gpt.md"
INTRODUCTION = "This page is the notebook [`{name}`]({name}), with the outputs of its last run."


def on_files(files: Any, config: Any) -> None:
    path = Path(config.config_file_path).parent / NOTEBOOK
    written = path.read_text(encoding="utf-8")
    page, pictures = converted(json.loads(written), path.name)
    files.append(File.generated(config, PAGE, content=page))
    files.append(File.generated(config, path.name, content=written))
    for name, picture in pictures.items():
        files.append(File.generated(config, name, content=picture))


def converted(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """The page, and its pictures by their places beside it."""
    pictures: dict[str, bytes] = {}
    title, *parts = (part for cell in notebook["cells"] for part in _parts(cell, pictures))
    heading, _, rest = title.partition("\n")
    return "\n\n".join((heading, INTRODUCTION.format(name=name), rest, *parts)) + "\n", pictures


def _parts(cell: dict[str, Any], pictures: dict[str, bytes]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source.replace("](../docs/", "](")
        return
    yield _fenced(source, "python")
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield _fenced("".join(output["text"]).rstrip("\n"), "text")
        else:  # a picture; a test allows nothing else
            place = f"{PAGE.removesuffix('.md')}/{cell['id']}.png"
            pictures[place] = base64.b64decode(output["data"]["image/png"])
            yield f"![What the cell above draws]({place})"


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"
