"""The reference of ``ops``: a page for each operation, and one that lists them by kind."""

import ast
import inspect
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from docstrings import as_markdown
from markdown.extensions.toc import slugify

from handgrad import ops
from handgrad.autograd import functions

PLACE = "reference/ops"
KINDS = {
    "elementwise": "Functions of one number",
    "arithmetic": "Arithmetic",
    "reductions": "Reductions",
    "rearranging": "Rearranging",
}
"""The headings of the files that hold several operations."""
NETWORKS, OF_OPTIMIZERS = "Networks", "Optimizers"


def fill_nav(nav: list[Any]) -> None:
    """Puts the operations, by kind, where the navigation names their list."""
    for place, entry in enumerate(nav):
        if entry == f"{PLACE}/index.md":
            nav[place] = {"ops": [entry, *({kind: list(map(_uri, names))} for kind, names in by_kind().items())]}
        for below in entry.values() if isinstance(entry, dict) else ():
            if isinstance(below, list):
                fill_nav(below)


@cache
def by_kind() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in (NETWORKS, *KINDS.values(), OF_OPTIMIZERS)}
    for name in ops.__all__:
        operation = getattr(ops, name)
        if inspect.isfunction(operation) and not name.endswith("_backward"):
            others = NETWORKS if f"{name}_backward" in ops.__all__ else OF_OPTIMIZERS
            found[KINDS.get(operation.__module__.rpartition(".")[2], others)].append(name)
    return found


def pages(docs: Path) -> dict[str, str]:
    """The text of each page, by its place."""
    lessons = _lessons(docs)
    names = [name for names in by_kind().values() for name in names]
    return {f"{PLACE}/index.md": _index()} | {_uri(name): _page(name, lessons.get(name)) for name in names}


def _uri(name: str) -> str:
    return f"{PLACE}/{name}.md"


def shown_at(module: str) -> str | None:
    """The place of a file of ``ops``, if it is shown."""
    name = module.removeprefix("handgrad.ops.")
    if module == "handgrad.ops":
        return f"{PLACE}/index.md"
    if name in KINDS:
        return f"{PLACE}/index.md#{slugify(KINDS[name], '-')}"
    names = (*by_kind()[NETWORKS], *by_kind()[OF_OPTIMIZERS])
    of_module = [operation for operation in names if _operation(operation).__module__ == module]
    return _uri(of_module[0]) if of_module else None


def _index() -> str:
    parts = ["# ops", as_markdown(inspect.cleandoc(ops.__doc__ or ""))]
    for kind, names in by_kind().items():
        rows = (f"| [`{name}`]({name}.md) | {_first_sentence(_operation(name))} |" for name in names)
        parts += [f"## {kind}", "| operation | what it computes |\n|---|---|\n" + "\n".join(rows)]
    parts.append(_directive("handgrad.ops.TAKE_WANTED"))
    return "\n\n".join(parts)


def _page(name: str, lesson: str | None) -> str:
    operation = _operation(name)
    module = inspect.getmodule(operation)
    assert module is not None
    alone = module.__name__.rpartition(".")[2] not in KINDS
    parts = [f"# {name}"]
    if alone and module.__doc__:
        parts.append(as_markdown(inspect.cleandoc(module.__doc__)))
    parts.append(_directive(f"{module.__name__}.{name}", heading="Forward", toc_label="Forward"))
    if hasattr(ops, f"{name}_backward"):
        parts.append(_directive(f"{module.__name__}.{name}_backward", heading="Backward", toc_label="Backward"))
    parts += [_directive(f"{module.__name__}.{saved}") for saved in _saved_by(operation, module)]
    beside = [*([lesson] if lesson else []), *_on_the_tape(name)]
    twin = f"{module.__name__.rpartition('.')[2]}.py"
    if (Path(ops.__file__).parent.parent / "kernels" / twin).exists():
        beside.append(f"Compiled twin: `kernels/{twin}`, of the same name.")
    if beside:
        parts += ['## See also { data-search-exclude="links" }', "\n".join(f"- {line}" for line in beside)]
    return "\n\n".join(parts)


def _directive(path: str, **options: Any) -> str:
    return f"::: {path}\n    options: {json.dumps(options | {'extra': {'open': True}})}"


def _operation(name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(ops, name)
    return found


def _first_sentence(operation: Callable[..., Any]) -> str:
    line = " ".join(inspect.cleandoc(operation.__doc__ or "").partition("\n\n")[0].split())
    sentence = re.split(r"(?<=\.)\s(?=[A-Z])", line)[0]
    return as_markdown(sentence).strip().replace("|", "\\|")


def _saved_by(operation: Callable[..., Any], module: ModuleType) -> list[str]:
    """The classes of this file that the forward returns. What several return is on the page of the first."""
    return [one for one in _returned(operation, module) if _owners()[f"{module.__name__}.{one}"] is operation]


@cache
def _owners() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {}
    for operation in (_operation(name) for names in by_kind().values() for name in names):
        module = inspect.getmodule(operation)
        assert module is not None
        for one in _returned(operation, module):
            found.setdefault(f"{module.__name__}.{one}", operation)
    return found


def _returned(operation: Callable[..., Any], module: ModuleType) -> list[str]:
    names = re.findall(r"\w+", str(getattr(operation, "__annotations__", {}).get("return", "")))
    classes = (getattr(module, name, None) for name in dict.fromkeys(names))
    return [one.__name__ for one in classes if inspect.isclass(one) and one.__module__ == module.__name__]


def _on_the_tape(name: str) -> list[str]:
    """The functions of tensors that run this pair; that of the same name, if there is one."""
    users = _users().get(name, [])
    users = [user for user in users if user.__name__ == name] or users
    links = [f"[`handgrad.{user.__name__}`](../functions.md#{user.__module__}.{user.__name__})" for user in users]
    return [f"On the tape: {', '.join(links)}"] if links else []


@cache
def _users() -> dict[str, list[Callable[..., Any]]]:
    found: dict[str, list[Callable[..., Any]]] = {}
    for name in functions.__all__:
        function = getattr(functions, name)
        for node in ast.walk(ast.parse(inspect.getsource(function))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ops":
                users = found.setdefault(node.attr, [])
                if function not in users:
                    users.append(function)
    return found


def _lessons(docs: Path) -> dict[str, str]:
    """Where a lesson derives an operation, as a link, by the operation's name."""
    page = (docs / "backprop.md").read_text(encoding="utf-8")
    title = re.findall(r"^# (.*)$", page, flags=re.MULTILINE)[0].partition(":")[0]
    heading, found = "", {}
    for line in page.splitlines():
        if re.match("##+ ", line):
            heading = line.lstrip("# ")
        elif shown := re.fullmatch(r"<!-- source: handgrad\.ops\.\w+: (.*) -->", line):
            for name in shown[1].split():
                link = f"Derived step by step in [{title}: {heading}](../../backprop.md#{slugify(heading, '-')})"
                found.setdefault(name, link)
    return found
