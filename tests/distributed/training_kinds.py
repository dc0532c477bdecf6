"""The kinds of training whose bits are compared."""

from typing import Any

MODERN: dict[str, Any] = {
    "norm": "rms", "positions": "rotary", "qk_norm": True, "activation": "swiglu", "tie_weights": False,
    "optimizer": "muon",
}  # fmt: skip
_HARD: dict[str, Any] = {"batch_size": 9, "dropout": 0.1, "grad_accum_steps": 2}
KINDS: dict[str, dict[str, Any]] = {
    f"{kind}, {precision}, {shards} shards": {**_HARD, **changes, "precision": precision, "shards": shards}
    for kind, changes in {"GPT-2": {}, "modern": MODERN, "SGD": {"optimizer": "sgd"}}.items()
    for precision in ("float32", "bfloat16")
    for shards in (2, 5, 8)
    if kind != "SGD" or (precision, shards) == ("float32", 5)
}
