"""What all operations have in common, and how heads are split and merged."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

from handgrad import ops
from handgrad.autograd import functions


def public_names(path: Path) -> set[str]:
    """The functions that a file defines, including those in ``f, f_backward = ...`` and other names, ``f = g``."""
    names: list[str] = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            names += [ast.unparse(name) for name in node.targets[0].elts]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            names.append(ast.unparse(node.targets[0]))
    return {name for name in names if not name.startswith("_")}


def test_every_pair_of_every_file_is_exported() -> None:
    room = Path(ops.__file__).parent
    for path in room.glob("[a-z]*.py"):
        names = public_names(path)
        pairs = {name for name in names if name.removesuffix("_backward") + "_backward" in names}
        assert pairs <= set(ops.__all__), path.name
    assert {"exp", "exp_backward"} <= public_names(room / "elementwise.py")
    assert all(inspect.isfunction(getattr(ops, name)) for name in ops.__all__ if name != "TAKE_WANTED")


def test_every_function_of_tensors_is_exported() -> None:
    room = Path(functions.__file__).parent
    defined = {name for path in room.glob("[a-z]*.py") for name in public_names(path)}
    assert defined | {"abs"} == set(functions.__all__)
    assert len(defined) > 90


def test_take_wanted_names_the_operations_with_that_option() -> None:
    functions = {getattr(ops, name) for name in ops.__all__ if inspect.isfunction(getattr(ops, name))}
    assert {f for f in functions if "wanted" in inspect.signature(f).parameters} == ops.TAKE_WANTED


def test_split_heads_gives_views_of_heads_side_by_side() -> None:
    """Two heads of queries, one of keys and values, D = 3: the columns of head h are hD to (h + 1)D."""
    qkv = np.arange(2 * 4 * 12.0).reshape(2, 4, 12)
    (q, k, v), _ = ops.split_heads(qkv, 2, 1)
    np.testing.assert_array_equal(q[:, 1], qkv[..., 3:6])
    np.testing.assert_array_equal(k[:, 0], qkv[..., 6:9])
    np.testing.assert_array_equal(v[:, 0], qkv[..., 9:])
    assert all(np.shares_memory(part, qkv) for part in (q, k, v))


def test_merge_heads_undoes_split_heads() -> None:
    qkv = np.random.default_rng(0).standard_normal((2, 4, 18))
    parts, _ = ops.split_heads(qkv, 3)
    merged = [ops.merge_heads(part)[0] for part in parts]
    np.testing.assert_array_equal(np.concatenate(merged, axis=-1), qkv)


def test_heads_refuse_sizes_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match=r"last size 13 is not a multiple of 2 \+ 2 x 1 heads"):
        ops.split_heads(np.ones((3, 13)), 2, 1)
    with pytest.raises(ValueError, match=r"last size 16 is not a multiple of 2 \+ 2 x 2 heads"):
        ops.split_heads(np.ones((3, 16)), 2)
    with pytest.raises(ValueError, match="at least 1, not 2 and 0"):
        ops.split_heads(np.ones((3, 16)), 2, 0)
    for shape in ((4, 3), (2, 0, 4, 3)):
        with pytest.raises(ValueError, match="at least one head"):
            ops.merge_heads(np.ones(shape))
    with pytest.raises(ValueError, match="multi_head_attention: last size 16 is not a multiple of 2 \\+ 2 x 2 heads"):
        ops.multi_head_attention(np.ones((3, 16)), n_head=2)


def test_the_weights_of_multi_head_attention_are_found_by_name() -> None:
    qkv = np.random.default_rng(0).standard_normal((2, 5, 24))
    _, saved = ops.multi_head_attention(qkv, n_head=2)
    weights = saved.attention.weights
    assert weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    np.testing.assert_array_equal(weights, np.tril(weights))
