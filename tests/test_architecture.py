"""The architecture, drawn from the real imports: imports go down, no circles, a core that needs only NumPy."""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

import handgrad

# A room is a package in handgrad, or the one loose module, backend.py. Floors are listed from the ground up.
FLOORS = (
    {"tokenizers", "data", "system"},
    {"ops", "kernels", "backend"},
    {"autograd"},
    {"nn", "optim"},
    {"models"},
    {"runs", "training", "generation", "checking", "plotting", "benchmarking", "experiments"},
    {"cli", "__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
LOOSE_FILES = {"__init__.py", "__main__.py", "backend.py"}
# These do not depend on the model: they may import only each other and system.
KNOW_NO_MODEL = {"tokenizers", "data"}
MAY_BE_KNOWN = {"tokenizers", "data", "system"}
CORE = {"autograd", "backend", "generation", "models", "nn", "ops", "optim", "system", "tokenizers"}
# The only module of the core that may require Numba.
COMPILES = {"handgrad.system.compiling"}
# The core may use these if they are installed, so each import must be in a try that catches ImportError.
OPTIONAL = {"gguf", "mpi4py", "numba", "regex", "safetensors"}


class Import(NamedTuple):
    """``room`` imports ``target``, a dotted name; ``guarded`` if it may be missing."""

    room: str
    target: str
    where: str
    guarded: bool = False
    names: tuple[str, ...] = ()
    """The names imported from the target, which may be modules too."""

    @property
    def module(self) -> str:
        """The file that imports, as a dotted name."""
        return self.where.partition(":")[0]


def imports_in(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """All imports in a module's source, also inside functions; relative ones become absolute.

    ``from a import b`` may name a module or something in one; it counts as ``a.b`` if a is handgrad itself.
    """
    tree = ast.parse(source)
    guarded = {
        id(node)
        for attempt in ast.walk(tree)
        if isinstance(attempt, ast.Try) and any(_catches_import_error(handler) for handler in attempt.handlers)
        for statement in attempt.body
        for node in ast.walk(statement)
    }
    parts = module.split(".")
    package = parts if is_package else parts[:-1]
    room = parts[1]
    for node in ast.walk(tree):
        targets: list[str] = []
        names: tuple[str, ...] = ()
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            targets = [f"handgrad.{alias.name}" for alias in node.names] if origin == "handgrad" else [origin]
            names = tuple(alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__"):
            literal = node.args[0] if node.args else None
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                targets = [literal.value]
        for target in targets:
            yield Import(room, target, f"{module}:{node.lineno}", id(node) in guarded, names)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return bool({_name(kind) for kind in caught if kind is not None} & {"ImportError", "ModuleNotFoundError"})


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def arrows(imports: list[Import]) -> list[tuple[str, str, str]]:
    """(from room, to room, where) for each import of another room."""
    inside = [(one, one.target.split(".")) for one in imports if one.target.split(".")[0] == "handgrad"]
    drawn = [(one.room, parts[1] if len(parts) > 1 else "", one.where) for one, parts in inside]
    return [(a, b, where) for a, b, where in drawn if a != b]


def faults(imports: list[Import]) -> list[str]:
    """The rules that the imports break; empty if they break none."""
    found = [f"{room} stands on no floor" for room in sorted({one.room for one in imports} - set(FLOOR_OF))]
    graph: dict[str, set[str]] = {}
    for room, other, where in arrows(imports):
        if other not in FLOOR_OF:
            found.append(f"{where}: {room} imports {other or 'handgrad itself'}, which is no room")
        elif FLOOR_OF[other] > FLOOR_OF.get(room, -1):
            found.append(f"{where}: {room} imports {other}, which is above it")
        if room in KNOW_NO_MODEL and other not in MAY_BE_KNOWN:
            found.append(f"{where}: {room} must know nothing of {other}")
        graph.setdefault(room, set()).add(other)
    if circle := circle_in(graph):
        found.append(f"a circle: {' -> '.join(circle)}")
    return found


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """The rooms of one circle, with the first repeated at the end; empty if there is no circle."""
    done: set[str] = set()

    def walk(path: list[str]) -> list[str]:
        for other in sorted(graph.get(path[-1], ())):
            if other in path:
                return [*path[path.index(other) :], other]
            if other not in done and (found := walk([*path, other])):
                return found
        done.add(path[-1])
        return []

    return next((found for room in sorted(graph) if (found := walk([room]))), [])


def files_of(imports: list[Import]) -> dict[str, set[str]]:
    """The files that each file imports, as dotted names: also inside a room, in functions and for type checkers."""
    files = {one.module for one in imports}
    graph: dict[str, set[str]] = {}
    for one in imports:
        inner = {f"{one.target}.{name}" for name in one.names} & files
        graph.setdefault(one.module, set()).update((inner or {one.target}) & files)
    return graph


def foreign_to_core(imports: list[Import]) -> list[str]:
    """Imports by rooms of the core of anything but NumPy, the standard library and the core itself."""
    found = []
    for room, target, where, guarded, _ in imports:
        package, _, below = target.partition(".")
        allowed = (
            package == "numpy"
            or package in sys.stdlib_module_names
            or (package in OPTIONAL and guarded)
            or (package == "handgrad" and below.split(".")[0] in CORE | {"kernels"})
        )
        if room in CORE and not allowed and where.partition(":")[0] not in COMPILES:
            found.append(f"{where}: {room} imports {target}")
    return found


@cache
def the_house() -> list[Import]:
    """All imports in src/handgrad except those of its __init__.py, which are lazy."""
    root = Path(handgrad.__file__).parent
    found: list[Import] = []
    for path in sorted(root.rglob("*.py")):
        names = ["handgrad", *path.relative_to(root).with_suffix("").parts]
        is_package = names[-1] == "__init__"
        module = ".".join(names[:-1] if is_package else names)
        if module != "handgrad":
            found.extend(imports_in(path.read_text(encoding="utf-8"), module, is_package))
    return found


def test_the_house_stands() -> None:
    assert faults(the_house()) == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = files_of(the_house())
    assert len(graph) > 150
    assert "handgrad.autograd.tensor" in graph["handgrad.autograd.creation"]
    assert circle_in(graph) == []


def test_nothing_lies_loose_beside_the_rooms() -> None:
    assert {path.name for path in Path(handgrad.__file__).parent.glob("*.py")} == LOOSE_FILES


def test_only_kernels_are_compiled() -> None:
    users = {one.module for one in the_house() if one.target in COMPILES}
    # backend_setting checks that Numba works; console reports that it compiles.
    assert {module for module in users if ".kernels." not in module} == {
        "handgrad.cli.console", "handgrad.system.backend_setting",
    }  # fmt: skip
    assert len(users) > 10


def test_the_core_imports_numpy_alone() -> None:
    assert foreign_to_core(the_house()) == []


def test_the_drawing_holds_arrows_that_are_known_to_be_there() -> None:
    # Without arrows every check would pass.
    drawn = {(a, b) for a, b, _ in arrows(the_house())}
    known = {
        ("models", "nn"), ("nn", "ops"), ("nn", "backend"), ("backend", "ops"), ("backend", "system"),
        ("tokenizers", "system"), ("data", "tokenizers"), ("runs", "system"), ("optim", "nn"),
        ("training", "runs"), ("cli", "training"), ("__main__", "cli"),
    }  # fmt: skip
    assert known <= drawn
    assert {one.room for one in the_house()} >= CORE


def synthetic(**sources: str) -> list[Import]:
    return [one for room, source in sources.items() for one in imports_in(source, f"handgrad.{room}.part")]


@pytest.mark.parametrize(
    "source",
    [
        "from handgrad.training import loop",
        "from handgrad.training.loop import train",
        "import handgrad.training.loop",
        "from handgrad import training",
        "from ..training import loop",
        "from .. import training",
        "def later():\n    from handgrad.training import loop",
        "if TYPE_CHECKING:\n    from handgrad.training import loop",
        "try:\n    import handgrad.training\nexcept ImportError:\n    pass",
        "import_module('handgrad.training')",
    ],
)
def test_an_arrow_upwards_is_reported_however_it_is_written(source: str) -> None:
    (fault,) = faults(synthetic(nn=source))
    assert "nn imports training, which is above it" in fault


def test_arrows_downwards_and_inside_a_floor_are_fine() -> None:
    house = synthetic(
        models="from handgrad.nn import Linear\nfrom handgrad import ops\nimport numpy as np",
        optim="from handgrad.nn import Parameter",
        nn="from handgrad.nn.module import Module\nfrom .module import Layer\nfrom . import init",
    )
    assert faults(house) == []
    assert {(a, b) for a, b, _ in arrows(house)} == {("models", "nn"), ("models", "ops"), ("optim", "nn")}


def test_a_circle_inside_a_floor_is_reported() -> None:
    (fault,) = faults(synthetic(nn="from handgrad.optim import SGD", optim="from handgrad.nn import Parameter"))
    assert fault == "a circle: nn -> optim -> nn"
    three = synthetic(
        training="import handgrad.generation",
        generation="import handgrad.checking",
        checking="import handgrad.plotting\nimport handgrad.training",
    )
    assert faults(three) == ["a circle: checking -> training -> generation -> checking"]


def test_a_circle_of_files_inside_a_room_is_reported() -> None:
    def file(name: str, source: str) -> list[Import]:
        return list(imports_in(source, f"handgrad.nn.{name}"))

    one_way = [*file("layers", "from handgrad.nn import module"), *file("module", "import numpy")]
    assert files_of(one_way) == {"handgrad.nn.layers": {"handgrad.nn.module"}, "handgrad.nn.module": set()}
    assert circle_in(files_of(one_way)) == []
    for back in ("from handgrad.nn.layers import Linear", "if TYPE_CHECKING:\n    from .layers import Linear"):
        assert circle_in(files_of([*one_way, *file("module", back)])) == [
            "handgrad.nn.layers", "handgrad.nn.module", "handgrad.nn.layers",
        ]  # fmt: skip


def test_a_room_on_no_floor_and_imports_through_the_front_door_are_reported() -> None:
    assert faults(synthetic(attic="import json")) == ["attic stands on no floor"]
    (fault,) = faults(synthetic(nn="import handgrad"))  # it gives access to every room
    assert "handgrad itself, which is no room" in fault
    (fault,) = faults(synthetic(nn="from handgrad import no_grad"))
    assert "no_grad, which is no room" in fault


def test_tokenizers_and_data_may_not_know_the_model() -> None:
    for room in KNOW_NO_MODEL:
        found = faults(synthetic(**{room: "from handgrad.models import GPT"}))
        assert any(f"{room} must know nothing of models" in fault for fault in found)


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("import numpy.typing as npt\nimport json\nfrom collections.abc import Iterator", True),
        ("try:\n    import numba\nexcept ImportError:\n    numba = None", True),
        ("try:\n    from regex import compile\nexcept (ModuleNotFoundError, OSError):\n    pass", True),
        ("import numba", False),
        ("try:\n    pass\nexcept ImportError:\n    import numba", False),
        ("try:\n    import numba\nexcept ValueError:\n    pass", False),
        ("try:\n    import torch\nexcept ImportError:\n    pass", False),
        ("def later():\n    import rich", False),
        ("from safetensors.numpy import load", False),
        ("def later():\n    try:\n        import safetensors\n    except ImportError:\n        pass", True),
        ("from handgrad.training import checkpoint", False),
    ],
)
def test_what_the_core_may_import(source: str, allowed: bool) -> None:
    assert (foreign_to_core(synthetic(optim=source)) == []) is allowed
    assert foreign_to_core(synthetic(cli=source)) == []  # outside the core everything is allowed


def test_what_stands_beside_the_package_imports_what_is_there() -> None:
    root = Path(__file__).parent.parent
    named = {
        one.target if not name or one.target.rpartition(".")[2] in one.names else f"{one.target}.{name}"
        for folder in ("benchmarks", "examples", "scripts")
        for path in (root / folder).rglob("*.py")
        for one in imports_in(path.read_text(encoding="utf-8"), f"beside.{path.stem}")
        if one.target.startswith("handgrad.")
        for name in one.names or ("",)
    }
    assert [name for name in named if not is_there(name)] == []
    assert len(named) > 30
    assert is_there("handgrad.nn.Linear")
    assert not is_there("handgrad.benchmarking.ours")


def is_there(dotted: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            place: object = import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for name in parts[n:]:
            if not hasattr(place, name):
                return False
            place = getattr(place, name)
        return True
    return False


def lines_of_code(source: str) -> int:
    """The number of lines of code, without blank lines, comments and docstrings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [
        statement
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for statement in node.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    ]
    inside = {line for text in texts for line in range(text.lineno, (text.end_lineno or 0) + 1)}
    return sum(
        bool(line.strip()) and not line.strip().startswith("#") and number not in inside
        for number, line in enumerate(source.splitlines(), start=1)
    )


def test_the_core_of_the_tape_stays_small() -> None:
    """A Tensor without its conversions and copies: recording, views, changes in place, and the backward pass."""
    assert lines_of_code('"""Text."""\n\n# Why.\nx = 1\n\n\ndef f():\n    """More\n    text."""\n    return x\n') == 3
    room = Path(handgrad.__file__).parent / "autograd"
    files = ("tape.py", "tensor.py", "recording.py", "in_place.py", "shared_memory.py")
    assert sum(lines_of_code((room / name).read_text(encoding="utf-8")) for name in files) < 400
