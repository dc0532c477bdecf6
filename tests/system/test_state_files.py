"""States as safetensors: load returns what save wrote, other programs read it, nothing is half-written or executed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import handgrad
from handgrad import nn, optim
from handgrad.system.errors import InputError


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and a == b


def test_a_state_dict_is_a_plain_safetensors_file(tmp_path: Path) -> None:
    net = nn.MLP([2, 3, 1])
    handgrad.save(net.state_dict(), tmp_path / "net.safetensors")
    others = safetensors.numpy.load_file(tmp_path / "net.safetensors")
    assert equal(dict(sorted(others.items())), dict(sorted(net.state_dict().items())))
    twin = nn.MLP([2, 3, 1])
    twin.load_state_dict(handgrad.load(tmp_path / "net.safetensors"))
    assert equal(twin.state_dict(), net.state_dict())


def test_an_optimizers_state_and_all_that_is_nested_comes_back(tmp_path: Path) -> None:
    net = nn.MLP([2, 3, 1])
    optimizer = optim.AdamW(net.parameters(), lr=0.01)
    net(handgrad.ones(4, 2)).sum().backward()
    optimizer.step()
    state = {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": 7,
        "nothing": None,
        "empty": {},
        "list": [1, 2.5, "text", True, (np.float32(3).item(), np.array(4))],
        "half.": {"a.b": np.zeros((0, 3)), "a": {"b": np.ones(2, bool)}},
    }
    handgrad.save(state, tmp_path / "all.safetensors")
    assert equal(handgrad.load(tmp_path / "all.safetensors"), state)
    twin = optim.AdamW(nn.MLP([2, 3, 1]).parameters(), lr=1.0)
    twin.load_state_dict(handgrad.load(tmp_path / "all.safetensors")["optimizer"])
    assert equal(twin.state_dict(), optimizer.state_dict())


def test_tensors_are_saved_as_arrays(tmp_path: Path) -> None:
    x = handgrad.arange(6, dtype="float32").reshape(2, 3).T
    scalar = handgrad.tensor(2.0)
    handgrad.save({"scalar": scalar, "x": x}, tmp_path / "x")
    loaded = handgrad.load(tmp_path / "x")
    assert equal(loaded, {name: np.asarray(value) for name, value in (("scalar", scalar), ("x", x))})


@pytest.mark.parametrize("state", [{"f": print}, {"a": {1, 2}}, {None: 1}, [b"bytes"], {True: 1}])
def test_what_cannot_be_saved_is_refused_before_anything_is_written(state: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="save: "):
        handgrad.save(state, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        handgrad.load(tmp_path / "missing")
    handgrad.save({"a": [np.arange(5)]}, tmp_path / "x")
    good = (tmp_path / "x").read_bytes()
    for content in (b"", b"no safetensors", good[:20], good[:-3], good.replace(b"list", b"rope")):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            handgrad.load(tmp_path / "x")
    with pytest.raises(InputError, match="is damaged"):
        handgrad.load(tmp_path)
    with pytest.raises(OSError, match="nowhere"):
        handgrad.save({}, tmp_path / "nowhere" / "x")
