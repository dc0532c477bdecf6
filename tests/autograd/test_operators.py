"""What ``methods`` declares for type checkers is what ``operators`` attaches: the same names and arguments."""

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest

from handgrad import Tensor
from handgrad.autograd import functions, methods, operators


def declared() -> dict[str, ast.FunctionDef]:
    """The methods under ``if TYPE_CHECKING`` in the class that Tensor inherits them from."""
    source = Path(inspect.getfile(methods)).read_text(encoding="utf-8").replace("TensorLike[Tensor]", "TensorLike")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name != "TopK"]
    blocks = [node for each in classes for node in each.body if isinstance(node, ast.If)]
    assert len(classes) == len(blocks) == 2
    return {node.name: node for block in blocks for node in block.body if isinstance(node, ast.FunctionDef)}


def attached() -> dict[str, Any]:
    named = {**vars(operators.Operators), **vars(operators.Methods)}
    return {
        name: getattr(Tensor, name)
        for name, value in named.items()
        if name in vars(Tensor) and vars(Tensor)[name] is value
    }


def arguments(text: str) -> list[tuple[str, str, str]]:
    """(kind, name, default) of each argument after the first."""
    namespace: dict[str, Any] = {}
    exec(f"def f({text}): ...", namespace)
    return [
        (parameter.kind.name, parameter.name, repr(parameter.default))
        for parameter in list(inspect.signature(namespace["f"]).parameters.values())[1:]
    ]


def test_all_that_is_attached_is_declared_and_nothing_else() -> None:
    assert len(declared()) > 100
    assert declared().keys() == attached().keys()


@pytest.mark.parametrize("name", sorted(declared().keys() - {"T", "mT"}))
def test_arguments_are_declared_as_they_are(name: str) -> None:
    node = declared()[name]
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    actual = [
        (parameter.kind.name, parameter.name, repr(parameter.default))
        for parameter in list(inspect.signature(attached()[name]).parameters.values())[1:]
    ]
    assert arguments(ast.unparse(node.args)) == actual


def annotations(node: ast.FunctionDef) -> list[str]:
    """Those of all arguments after the first, and of what is returned, without quotation marks."""
    given = node.args
    several = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    hints = [argument.annotation for argument in several if argument is not several[0]]
    return [ast.unparse(hint).strip("'\"") if hint else "" for hint in (*hints, node.returns)]


@pytest.mark.parametrize("name", sorted(declared().keys() - {"T", "mT", "__iter__"}))
def test_types_are_declared_as_they_are(name: str) -> None:
    (actual,) = ast.parse(textwrap.dedent(inspect.getsource(attached()[name]))).body
    assert isinstance(actual, ast.FunctionDef)
    assert annotations(declared()[name]) == annotations(actual)


def test_a_method_has_a_name_for_those_who_read_a_traceback() -> None:
    assert Tensor.__radd__.__qualname__ == "Tensor.__radd__"
    assert {method.__name__ for name, method in attached().items() if name not in ("T", "mT")} >= {
        "__radd__",
        "__iadd__",
        "__eq__",
    }
    assert functions.exp.__qualname__ == "exp"


def test_a_method_is_the_function_of_its_name() -> None:
    for name, method in attached().items():
        if name in functions.__all__:
            assert method is getattr(functions, name)
    assert Tensor.exp is functions.exp
    assert isinstance(Tensor.T, property)
