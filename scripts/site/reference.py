"""The reference: a page for each room, with the names that its ``__init__.py`` makes public, file by file.

``ops`` has a page for each operation instead, which ``operations.py`` writes.
"""

import ast
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import operations
from mkdocs.structure.files import File

ROOMS = {
    "ops": "handgrad.ops",
    "autograd": "handgrad.autograd",
    "functions": "handgrad.autograd.functions",
    "nn": "handgrad.nn",
    "optim": "handgrad.optim",
    "models": "handgrad.models",
    "tokenizers": "handgrad.tokenizers",
    "data": "handgrad.data",
    "runs": "handgrad.runs",
    "training": "handgrad.training",
    "generation": "handgrad.generation",
    "experiments": "handgrad.experiments",
    "checking": "handgrad.checking",
    "benchmarking": "handgrad.benchmarking",
    "plotting": "handgrad.plotting",
}
SHOW_SOURCE = ("models",)  # and on the pages of operations; elsewhere it unfolds

INTRODUCTION = """# Reference

`import handgrad` loads next to nothing: a module is imported when it is first used, as in `handgrad.nn`.
"""


def on_config(config: Any) -> None:
    operations.fill_nav(config.nav)


def on_files(files: Any, config: Any) -> None:
    source = Path(config.config_file_path).parent / "src"
    pages = {f"reference/{room}.md": _page(source, room) for room in ROOMS if room != "ops"}
    pages |= {"reference/index.md": _index(source)} | operations.pages(Path(config.docs_dir))
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))


def public_names(source: Path, package: str) -> dict[str, str]:
    """Each name in ``__all__``, with the place of its definition."""
    path = _file(source, package)
    tree = ast.parse(path.read_text(encoding="utf-8"), path)
    places: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if alias.name == "*":
                places |= {name: f"{node.module}.{name}" for name in _defined_in(_file(source, node.module or ""))}
            else:
                places[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return {name: places.get(name, f"{package}.{name}") for name in import_module(package).__all__}


def _defined_in(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text(encoding="utf-8"), path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name))


def _index(source: Path) -> str:
    rows = (f"| [{room}]({page_of(room)}) | {_purpose(source, package)} |" for room, package in ROOMS.items())
    of_tensors = {
        name: f"[`{name}`]({room}.md#{place})"
        for room in ("autograd", "functions")
        for name, place in public_names(source, ROOMS[room]).items()
    }
    return "\n".join(
        (
            INTRODUCTION,
            "| module | contents |\n|---|---|",
            *rows,
            "",
            "## Names of handgrad itself",
            "",
            "Tensors and the functions of tensors: " + ", ".join(map(of_tensors.get, sorted(of_tensors))),
            "",
            _directive("handgrad.system.backend_setting", members=["current_backend", "use_backend"]),
            _directive("handgrad.system.state_files", members=["load", "save"]),
        )
    )


def page_of(room: str) -> str:
    """The page of a room, beside the others."""
    return "ops/index.md" if room == "ops" else f"{room}.md"


def _page(source: Path, room: str) -> str:
    package = ROOMS[room]
    modules: dict[str, dict[str, Any]] = {
        package: {"members": [], "show_root_heading": False, "show_root_toc_entry": False}
    }
    other_names = []
    for name, place in public_names(source, package).items():
        module, _, own_name = place.rpartition(".")
        if not place.startswith(f"{package}."):
            home = module.removeprefix("handgrad.")
            at = public_names(source, module)[own_name]
            other_names.append(f"`{name}` is described [under {home}]({page_of(home)}#{at}).")
            continue
        if _file(source, place).exists():
            modules[place] = {}
        else:
            modules.setdefault(module, {"members": []})["members"].append(own_name)
        if name != own_name:
            other_names.append(f"`{name}` is another name of [`{own_name}`](#{place}).")
    first, *others = (
        _directive(module, **modules[module], extra={"open": room in SHOW_SOURCE}) for module in sorted(modules)
    )
    return "\n\n".join((f"# {package.removeprefix('handgrad.')}", first, *other_names, *others))


def _directive(path: str, **options: Any) -> str:
    """The line that mkdocstrings replaces by the documentation."""
    return f"::: {path}\n    options: {json.dumps(options)}"


def _purpose(source: Path, package: str) -> str:
    path = _file(source, package)
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"), path)) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def _file(source: Path, dotted: str) -> Path:
    path = source.joinpath(*dotted.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
