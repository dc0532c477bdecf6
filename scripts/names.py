"""Writes docs/names.md: every public name, its counterparts in NumPy and PyTorch, and whether they behave the same.

    python scripts/names.py [--check]

Each function and method is called with the same arguments as its counterparts, and their results are compared. A
counterpart whose results differ needs a remark below; a remark on one whose results never differ is accepted, as calls
cannot show everything. --check writes nothing; its exit code is 1 if the page would change. Needs PyTorch.
"""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import handgrad
from handgrad import Tensor, nn, optim
from handgrad.autograd import functions

PAGE = Path(__file__).resolve().parent.parent / "docs" / "names.md"

# Counterparts of another name than ours; None for none, although there is something of that name.
NUMPY = {
    "array": "array", "astype": "ndarray.astype", "cat": "concatenate", "clamp": "clip", "div": "divide",
    "manual_seed": "random.seed", "mul": "multiply", "multinomial": None, "neg": "negative", "norm": "linalg.norm",
    "normal": "random.normal", "numel": "size", "permute": "transpose", "pow": "power", "rand": "random.rand",
    "randint": "random.randint", "randn": "random.randn", "randperm": "random.permutation", "sub": "subtract",
    "tensor": "array", "uniform": "random.uniform", "unsqueeze": "expand_dims", "chunk": "array_split", "mm": "matmul",
    "matrix_transpose": "matrix_transpose", "t": None, "apply": None, "double": "double", "float": None, "int": None,
    "long": None, "bool": "bool", "load": None, "save": None, "copy": "copy", "flatten": "ndarray.flatten",
}  # fmt: skip
TORCH = {
    "array": "tensor", "astype": "Tensor.to", "mse": "nn.functional.mse_loss", "power": "pow", "less": "lt",
    "attention": "nn.functional.scaled_dot_product_attention", "equal": "eq", "not_equal": "ne", "greater": "gt",
    "greater_equal": "ge", "less_equal": "le", "expand_dims": "unsqueeze", "take_along_axis": "take_along_dim",
    "copy": "clone", "broadcast_to": "broadcast_to", "matrix_transpose": "Tensor.mT", "repeat": "Tensor.repeat",
    "expand": "Tensor.expand", "view": "Tensor.view", "masked_fill": "masked_fill", "apply": "autograd.Function.apply",
    "invert": "bitwise_not", "contiguous": "Tensor.contiguous", "uniform": None, "floor_divide": "floor_divide",
    "linear": "nn.functional.linear", "embedding": "nn.functional.embedding", "dropout": "nn.functional.dropout",
    "layer_norm": "nn.functional.layer_norm", "cross_entropy": "nn.functional.cross_entropy",
    "rms_norm": "nn.functional.rms_norm",
    "gelu": "nn.functional.gelu", "softplus": "nn.functional.softplus", "conv2d": "nn.functional.conv2d",
    "one_hot": "nn.functional.one_hot", "leaky_relu": "nn.functional.leaky_relu", "graph": None, "Graph": None,
    "binary_cross_entropy": "nn.functional.binary_cross_entropy", "default_generator": "default_generator",
    "max_pool2d": "nn.functional.max_pool2d", "size": "Tensor.size", "data": "Tensor.data",
    "binary_cross_entropy_with_logits": "nn.functional.binary_cross_entropy_with_logits",
}  # fmt: skip

# How NumPy and PyTorch differ from ours; None if one of them does not.
REMARKS: dict[str, tuple[str | None, str | None]] = {
    "attention": (None, "not causal by default"),
    "conv2d": (None, "has groups and named paddings"),
    "cross_entropy": (None, "classes on axis 1; here on the last"),
    "cumprod": (None, "needs an axis"),
    "cumsum": (None, "needs an axis"),
    "default_generator": (None, "another kind of generator"),
    "dot": (None, "vectors alone"),
    "empty": ("other memory", "other memory"),
    "empty_like": ("other memory", "other memory"),
    "eye": ("float64 by default", None),
    "flatten": (None, "a view if possible"),
    "gelu": (None, "exact by default; ours is the tanh form"),
    "linear": (None, "the weight is the transpose of ours"),
    "linspace": ("float64", "needs the number of steps"),
    "load": (None, "files of pickled objects; ours are safetensors"),
    "save": (None, "files of pickled objects; ours are safetensors"),
    "max": (None, "with an axis also the indices; `amax` is the same"),
    "min": (None, "with an axis also the indices; `amin` is the same"),
    "nonzero": (None, "one matrix"),
    "norm": ("also norms of matrices", None),
    "ones": ("float64 by default, sizes as a tuple alone", None),
    "zeros": ("float64 by default, sizes as a tuple alone", None),
    "prod": (None, "over one axis alone"),
    "repeat": (None, "tiles; `tile` is the same, `repeat_interleave` repeats"),
    "size": (None, "a method; called, ours answers as it"),
    "sort": ("the method sorts in place", "with the indices"),
    "softmax": (None, "has no default axis"),
    "log_softmax": (None, "has no default axis"),
    "take_along_axis": (None, "without an axis flattens both"),
    "split": ("so many pieces", None),
    "squeeze": (None, "an axis of another size is left alone"),
    "std": (None, "divides by n - 1 by default"),
    "var": (None, "divides by n - 1 by default"),
    "T": (None, "for matrices alone"),
    "transpose": ("orders all axes; so does ours with a tuple", None),
    "view": ("another dtype", None),
    "tensor": ("float64 by default", None),
    "array": ("float64 by default", None),
    "apply": (None, "a class; ours takes a pair of functions"),
    "grad": (None, "a tensor; ours is a NumPy array"),
    "data": (None, "a tensor; ours is the NumPy array"),
    "chunk": ("pieces whose sizes differ by at most 1", None),
    "backward": (None, "also gradients of gradients"),
    "to": (None, "also devices"),
    "randint": ("dtype of the platform", "needs a size"),
    "trace": (None, "matrices alone"),
    "sum": (None, "axis () is all axes"),
    "logsumexp": (None, "needs an axis"),
    "argsort": ("not stable by default", "not stable by default"),
    "MultiHeadAttention": (None, "takes queries, keys and values, and returns the weights too; as `CrossAttention`"),
    "CrossAttention": (None, "returns the weights too; one fused weight"),
    "Embedding": (None, "has padding and norms"),
    "embedding": (None, "has padding and norms"),
    "Linear": (None, "the weight is the transpose of ours"),
    "Conv2d": (None, "has groups and named paddings"),
    "GELU": (None, "exact by default; ours is the tanh form"),
    "Module": (None, "runs on the tape alone; ours also by hand, with arrays"),
    "Parameter": (None, "has no role"),
    "CrossEntropyLoss": (None, "classes on axis 1; here on the last; other order of arguments"),
    "RMSNorm": (None, "eps is by default that of the dtype, 1.2e-7; here 1e-5"),
    "rms_norm": (None, "eps is by default that of the dtype, 1.2e-7; here 1e-5"),
    "DataLoader": (None, "also several processes and samplers"),
    "Muon": (None, "computes in bfloat16; scales by the transpose; one matrix, even if fused"),
    "Optimizer": (None, "also hooks and closures"),
    "clip_grad_norm": (None, "returns a tensor; other norms too"),
    "clip_grad_norm_": (None, "returns a tensor; other norms too"),
}
DRAWN = {"normal", "rand", "rand_like", "randint", "randn", "randn_like", "randperm", "uniform", "multinomial",
         "dropout", "manual_seed", "normal_", "uniform_", "trunc_normal", "trunc_normal_"}  # fmt: skip
OF_TORCH = {"nn": torch.nn, "nn.functional": torch.nn.functional, "nn.init": torch.nn.init, "optim": torch.optim,
            "optim.lr_scheduler": torch.optim.lr_scheduler}  # fmt: skip
ELSEWHERE = {
    "nn": {"DataLoader": torch.utils.data.DataLoader, "Dataset": torch.utils.data.Dataset,
           "TensorDataset": torch.utils.data.TensorDataset, "Buffer": torch.nn.Buffer,
           "CrossAttention": torch.nn.MultiheadAttention, "MultiHeadAttention": torch.nn.MultiheadAttention,
           "cross_entropy_loss": torch.nn.functional.cross_entropy, "mse_loss": torch.nn.functional.mse_loss},
    "optim": {"clip_grad_norm": torch.nn.utils.clip_grad_norm_, "clip_grad_norm_": torch.nn.utils.clip_grad_norm_},
}  # fmt: skip

X = np.array([[0.5, 1.5, 0.25], [2.0, 0.75, 1.0]], np.float32)
Y = np.array([[1.0, 0.5, 2.0], [0.25, 1.5, 3.0]], np.float32)
B = np.array([[True, False, True], [False, False, True]])
IDS = np.array([[0, 2, 1], [1, 0, 2]])
CALLS: list[tuple[Any, ...]] = [
    (X,), (X, Y), (X, 1), (X, 0), (X, 0, 1), (X, -1), (X, (1, 0)), (X, (3, 2)), (X, 3, 2), (X, X.T), (X[0], Y[0]),
    ([X, Y],), ([X, Y], 1), (B,), (B, B), (IDS,), (IDS, IDS), (B, X, Y), (X, B, 0.0), (X, 1, IDS), (X, IDS, 1),
    (X[None], X.T[None]), ((2, 3),), (3,), (2, 3), (1, 7, 2), (0.0, 1.0, 5), ((2, 3), 1.5), (X, 0.5, 1.0),
    (X[:, None],),
    (X, 2), (X, 2, 1), (X, (2, 2, 3)), ("ij,kj->ik", X, Y), (X[0], IDS[0]), (X, [1, 2], 1), (X[:, :1], 1), (IDS, X),
]  # fmt: skip


UNSAID: list[str] = []
"""Differences that no remark explains."""


def plain(found: Any) -> Any:
    """Arrays and numbers in place of tensors."""
    if isinstance(found, Tensor):
        return found.detach().data
    if isinstance(found, torch.Tensor):
        return found.detach().numpy()
    return [plain(each) for each in found] if isinstance(found, list | tuple) else found


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, list) or isinstance(b, list):
        same = isinstance(a, list) and isinstance(b, list) and len(a) == len(b)
        return same and all(map(alike, a, b))
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == object or b.dtype == object:
        return a.dtype == b.dtype
    rough = 1e-2 if np.float16 in (a.dtype, b.dtype) else 1e-4  # NumPy's fractions of booleans
    return a.shape == b.shape and np.allclose(a, b, rtol=rough, atol=1e-6, equal_nan=True)


def tensors(value: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(value, np.ndarray):
        return make(value.copy())
    return (
        [tensors(each, make) for each in value]
        if isinstance(value, list) and isinstance(value[0], np.ndarray)
        else value
    )


def outcome(function: Any, arguments: tuple[Any, ...], make: Callable[[Any], Any]) -> Any:
    """What a call returns; None if it refuses the arguments."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = plain(function(*(tensors(value, make) for value in arguments)))
            return found if not callable(found) and found is not None else None
    except Exception:  # whatever a library raises for arguments that it does not take
        return None


def found_in(library: Any, path: str) -> Any:
    for part in path.split("."):
        library = getattr(library, part, None)
    return library


def counterpart(name: str, aliases: dict[str, str | None], places: list[tuple[str, Any]]) -> tuple[str, Any] | None:
    """The counterpart of a name, with the name to show; None if the other library has no counterpart."""
    if name in aliases:
        path = aliases[name]
        prefix, library = places[0]
        thing = None if path is None else found_in(library, path)
        return None if thing is None else (f"{prefix}.{path}", thing)
    for prefix, library in places:
        thing = getattr(library, name, None)
        if thing is not None:
            return f"{prefix}.{name}" if prefix else f"{public_place(thing)}.{thing.__name__}", thing
    return None


def public_place(thing: Any) -> str:
    """The module that users import something from, which the files of PyTorch's own layout lie below."""
    for place in ("torch.utils.data", "torch.nn.functional", "torch.nn.utils", "torch.nn"):
        if getattr(sys.modules[place], thing.__name__, None) is thing:
            return place
    return "torch"


def verdict(
    name: str, ours: Any, theirs: tuple[str, Any] | None, make: Callable[[Any], Any], remark: str | None
) -> str:
    """The cell of a library: its name, and what differs there."""
    if theirs is None:
        return "–"
    shown, function = theirs
    if remark is not None:
        return f"`{shown}`: {remark}"
    if name in DRAWN:
        return f"`{shown}`: draws other numbers"
    compared = not callable(ours)
    if not compared and callable(function) and not inspect.isclass(ours):
        for arguments in CALLS:
            a, b = outcome(ours, arguments, handgrad.tensor), outcome(function, arguments, make)
            compared = compared or (a is not None and b is not None)
            if a is not None and b is not None and not alike(a, b):
                UNSAID.append(f"{name}{arguments!r} gives {a!r}, {shown} {b!r}")
                break
    return f"`{shown}`" if compared else f"`{shown}` ¹"


def rows_of(
    names: list[str], home: Any, torch_places: list[tuple[str, Any]], numpy_places: list[tuple[str, Any]]
) -> Iterator[str]:
    methods = home is Tensor
    for name in names:
        ours = getattr(home, name)
        remarks = REMARKS.get(name, (None, None))
        in_numpy = counterpart(name, {} if methods else NUMPY, numpy_places) if numpy_places else None
        in_torch = counterpart(name, {} if methods else TORCH if home is handgrad else {}, torch_places)
        if methods and in_numpy is not None and name in ("data", "ndim", "shape", "dtype"):
            in_numpy = (f"ndarray.{name}", None)
        cells = (
            verdict(name, ours, in_numpy, lambda value: value, remarks[0]),
            verdict(name, ours, in_torch, torch.tensor, remarks[1]),
        )
        yield f"| `{name}` | {cells[0]} | {cells[1]} |"


def public_names() -> dict[str, tuple[list[str], Any]]:
    """The public names of each place, and the place."""
    from handgrad.autograd import __all__ as of_autograd

    top = sorted({*of_autograd, *functions.__all__, "load", "save", "current_backend", "use_backend"} - {"TensorLike"})
    methods = sorted(name for name in dir(Tensor) if not name.startswith("_"))
    places: dict[str, tuple[list[str], Any]] = {"handgrad": (top, handgrad), "handgrad.Tensor": (methods, Tensor)}
    for name, room in (
        ("nn", nn), ("nn.functional", nn.functional), ("nn.init", nn.init), ("optim", optim),
        ("optim.lr_scheduler", optim.lr_scheduler),
    ):  # fmt: skip
        given = getattr(room, "__all__", None)
        if given is None:
            given = [
                each for each, value in vars(room).items()
                if not each.startswith("_") and getattr(value, "__module__", None) == room.__name__
            ]  # fmt: skip
        places[name] = sorted(each for each in given if not inspect.ismodule(getattr(room, each))), room
    return places


def page() -> str:
    """The text of docs/names.md."""
    torch.manual_seed(0)
    handgrad.manual_seed(0)
    parts = [
        "# Every name, in NumPy and in PyTorch\n\n"
        "`python scripts/names.py` writes this page. It calls each function and method and its counterparts with\n"
        "the same arguments and compares what they return. A cell names the counterpart; what follows is a\n"
        'difference, and "–" means that there is no counterpart. A name with ¹ was not called here, as none of the\n'
        "arguments fit it; the tests that `make parity` runs compare it.\n\n"
        "One difference is everywhere: numbers are float32 by default, as in PyTorch, and keep that dtype as\n"
        "[the rule for types](tensors.md#types) says. What else differs is explained on\n"
        "[the page on tensors](tensors.md#where-numpy-and-pytorch-differ).\n"
    ]
    functional = torch.nn.functional
    for title, (names, home) in public_names().items():
        if home is handgrad:
            numpy_places: list[tuple[str, Any]] = [("np", np)]
            torch_places: list[tuple[str, Any]] = [
                ("torch", torch),
                ("torch.nn.functional", functional),
                ("torch.Tensor", torch.Tensor),
            ]
        elif home is Tensor:
            numpy_places, torch_places = [("ndarray", np.ndarray)], [("Tensor", torch.Tensor)]
        else:
            elsewhere = type(
                "Elsewhere", (), {key: staticmethod(value) for key, value in ELSEWHERE.get(title, {}).items()}
            )
            numpy_places, torch_places = [], [(f"torch.{title}", OF_TORCH[title]), ("", elsewhere)]
        rows = "\n".join(rows_of(names, home, torch_places, numpy_places))
        parts.append(f"## {title}\n\n| handgrad | NumPy | PyTorch |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def main() -> int:
    before = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    after = page()
    if UNSAID:
        sys.exit("names: say in REMARKS what differs:\n" + "\n".join(UNSAID))
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(after, encoding="utf-8")
    print(
        "docs/names.md",
        "is up to date" if before == after else "would change" if "--check" in sys.argv else "is updated",
    )
    return int("--check" in sys.argv and before != after)


if __name__ == "__main__":
    sys.exit(main())
