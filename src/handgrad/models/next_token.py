"""One further token of each text through a model: by its forward, or by one compiled call that does the same."""

from dataclasses import replace
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeGuard

import numpy as np

from handgrad.autograd import no_grad
from handgrad.backend import whole_model
from handgrad.models.cache import KVCache
from handgrad.models.config import GPTConfig
from handgrad.models.gpt import GPT
from handgrad.models.language_model import LanguageModel
from handgrad.nn import Layer, Module, Parameter
from handgrad.ops.attention import default_scale
from handgrad.ops.embedding import check_ids
from handgrad.system.arrays import Array
from handgrad.system.processor import available_cores
from handgrad.system.threads import ALONE, Team

_WORTH_A_TEAM = 4 << 20
"""Products of a parameter and a number from which other threads help: to wake them takes as long as a million."""

_MOST_THREADS = 8
"""So many cores read as fast as memory delivers."""

_SETTINGS = ("causal", "window", "scale", "qk_norm_eps", "rope_base", "eps", "cap", "precision")
"""Attributes of a model's parts that change what they compute; the kernel takes them from the configuration."""


class NextToken:
    """Called with one token of each text, it returns the logits of the next. The model is in ``eval`` mode, as compiled
    code has no dropout.

    Make it anew if parts of the model are replaced or set otherwise; its parameters may change. ``threads`` are all
    cores by default, up to eight; a little model uses one.
    """

    def __init__(self, model: LanguageModel, threads: int | None = None) -> None:
        self.model = model
        self._team = Team(min(available_cores(), _MOST_THREADS) if threads is None else threads)
        self._compiled: tuple[Any, Any, Parameter] | None = None
        kernel = whole_model(type(model).__name__)
        if kernel is not None and _is_known_to(model, kernel):
            self._compiled = _weights(kernel, model), _kind(kernel, model.config), model.token_embedding.weight

    @property
    def is_compiled(self) -> bool:
        """Whether the whole model is one compiled call, whose results for a text do not depend on the others."""
        return self._compiled is not None and whole_model(type(self.model).__name__) is not None

    def __call__(self, ids: Array, cache: KVCache) -> Array:
        """Logits (B, V) after one token ``ids`` (B,) of each text, which is added to the cache.

        Raises ValueError if the ids or the model do not fit the cache, IndexError for an unknown id.
        """
        if ids.ndim != 1:
            raise ValueError(f"NextToken: ids must have shape (B,), not {ids.shape}")
        kernel = whole_model(type(self.model).__name__)
        if self._compiled is None or kernel is None:
            with no_grad():
                logits: Array = self.model(ids[:, None], kv_cache=cache)[:, 0]
                return logits
        config = self.model.config
        weights, kind, table = self._compiled
        check_ids(table.data, ids)
        cache.check(config, len(ids), np.float32)
        cache.make_room(1)
        base = config.rope_base if config.positions == "rotary" else None
        team = self._team if len(ids) * self.model.n_parameters >= _WORTH_A_TEAM else ALONE
        logits, last = kernel.next_token_logits(
            weights, kind, ids, cache.all_layers, cache.before, config.window, base, team
        )
        cache.advance(1, last)
        return logits


def _is_known_to(model: LanguageModel, kernel: ModuleType) -> TypeGuard[GPT]:
    """Whether the kernel computes this model: a GPT of float32 that multiplies in float32, its nonlinearity known, no
    part of it replaced or set to something else.
    """
    if type(model) is not GPT or model.config.activation not in kernel.ACTIVATIONS:
        return False
    if model.config.precision != "float32":
        return False
    is_array = type(model.arena.data) is np.ndarray and model.arena.data.dtype == np.float32
    in_arena = {id(parameter) for parameter in model.arena.parameters}
    return (
        is_array
        and all(id(parameter) in in_arena for parameter in model.parameters())
        and _parts(model) == _parts_of(model.config)
    )


def _parts(model: Module) -> list[tuple[str, Any, list[Any]]]:
    """Each module's name, class and settings; what stands in for a class if the module has a forward of its own."""
    return [
        (name, vars(part).get("forward", type(part)), _settings(part) if isinstance(part, Layer) else [])
        for name, part in model.named_modules()
    ]


def _settings(part: Layer) -> list[Any]:
    return [vars(part).get(setting) for setting in _SETTINGS]


@lru_cache(maxsize=8)
def _parts_of(config: GPTConfig) -> list[tuple[str, Any, list[Any]]]:
    return _parts(GPT(replace(config.smallest(), n_layer=config.n_layer)))


def _weights(kernel: ModuleType, model: GPT) -> Any:
    starts = {id(parameter): span.start for parameter, span in model.arena.parts}

    def places(module: Any, paths: tuple[str, ...]) -> list[int]:
        return [_start(module, path, starts) for path in paths]

    of_blocks = np.array([places(block, kernel.OF_BLOCK) for block in model.blocks])
    return kernel.Weights(model.arena.data, np.array(places(model, kernel.OF_MODEL)), of_blocks)


def _start(module: Any, path: str, starts: dict[int, int]) -> int:
    """Where a parameter begins in the arena; -1 if there is none of that name."""
    for name in path.split("."):
        module = getattr(module, name, None)
    return -1 if module is None else starts[id(module)]


def _kind(kernel: ModuleType, config: GPTConfig) -> Any:
    return kernel.Kind(
        n_embd=config.n_embd,
        n_head=config.n_head,
        n_kv_head=config.kv_heads,
        head_dim=config.head_size,
        expanded=next(each.outputs for each in config.maps if each.part == "expand"),
        hidden=config.hidden,
        vocab_size=config.vocab_size,
        rms=config.norm == "rms",
        activation=kernel.ACTIVATIONS[config.activation],
        qk_norm=config.qk_norm,
        embedding_norm=config.embedding_norm,
        embedding_scale=np.float32(config.embedding_scale),
        norm_eps=float(config.norm_eps),
        scale=np.float32(default_scale(config.head_size) if config.attention_scale is None else config.attention_scale),
        cap=np.float32(config.logit_cap),
    )
