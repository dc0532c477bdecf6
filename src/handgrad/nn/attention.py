"""Self-attention: project to queries, keys and values, attend, project back (Vaswani et al. 2017, section 3.2)."""

from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from handgrad import ops
from handgrad.autograd import Tensor, default_generator
from handgrad.backend import function_for
from handgrad.nn.base_layer import Layer
from handgrad.nn.layers import Dropout, Linear
from handgrad.nn.module import ArrayOrTensor, Module
from handgrad.ops.cached_attention import KeysAndValues
from handgrad.ops.precision import Precision, check_precision
from handgrad.system.arrays import Array

Generator = np.random.Generator


class Attend(Layer):
    """Multi-head self-attention on a fused projection: (B, T, (n_head + 2 n_kv_head) D) to (B, T, n_head D).

    It has no parameters. The options are those of ``ops.multi_head_attention``. Splitting into heads, normalising and
    turning queries and keys, attention and merging are one operation, so that compiled code need not copy heads.
    """

    def __init__(
        self,
        n_head: int,
        causal: bool = True,
        dropout: float = 0.0,
        *,
        n_kv_head: int | None = None,
        window: int = 0,
        scale: float | None = None,
        qk_norm_eps: float | None = None,
        rope_base: float | None = None,
        precision: Precision = "float32",
        rng: Generator | None = None,
    ) -> None:
        check_precision("Attend", precision)
        self.n_head = index(n_head)
        self.n_kv_head = self.n_head if n_kv_head is None else index(n_kv_head)
        self.causal = causal
        self.dropout = dropout
        self.window = index(window)
        self.scale = scale
        self.qk_norm_eps = qk_norm_eps
        self.rope_base = rope_base
        self.precision = precision
        self.rng = rng

    def forward(
        self, qkv: ArrayOrTensor, mask: ArrayOrTensor | None = None, kv_cache: KeysAndValues | None = None
    ) -> ArrayOrTensor:
        if kv_cache is not None:
            return self._continue(qkv, mask, kv_cache)
        learns = isinstance(mask, Tensor) and mask.requires_grad
        return self.apply(
            ops.multi_head_attention,
            qkv,
            *([mask] if learns else []),
            **({} if learns else {"mask": mask}),
            n_head=self.n_head,
            n_kv_head=self.n_kv_head,
            causal=self.causal,
            window=self.window,
            scale=self.scale,
            qk_norm_eps=self.qk_norm_eps,
            rope_base=self.rope_base,
            dropout_p=self.dropout if self.training else 0.0,
            rng=default_generator() if self.rng is None else self.rng,
            precision=self.precision,
        )

    def _continue(self, qkv: ArrayOrTensor, mask: ArrayOrTensor | None, kv_cache: KeysAndValues) -> ArrayOrTensor:
        if mask is not None or not self.causal:
            raise ValueError("Attend: kv_cache needs causal attention without a mask")
        if isinstance(qkv, Tensor):
            return Tensor(self._continue(qkv.data, mask, kv_cache))
        options: dict[str, Any] = {
            "n_head": self.n_head,
            "n_kv_head": self.n_kv_head,
            "window": self.window,
            "scale": self.scale,
            "qk_norm_eps": self.qk_norm_eps,
            "rope_base": self.rope_base,
        }
        if self.precision != "float32":  # which the kernel does not take: texts are written in float32
            return ops.cached_attention(qkv, kv_cache, **options, precision=self.precision)
        return function_for(ops.cached_attention, qkv, kv_cache.keys)(qkv, kv_cache, **options)


class SplitHeads(Layer):
    """A fused projection (B, T, 3C) as queries, keys and values, each (B, n_head, T, D)."""

    def __init__(self, n_head: int) -> None:
        self.n_head = index(n_head)

    def forward(self, qkv: ArrayOrTensor) -> tuple[Any, Any, Any]:
        return self.apply(ops.split_heads, qkv, n_head=self.n_head)


class SplitOne(Layer):
    """One projection (B, T, C) as (B, n_head, T, D)."""

    def __init__(self, n_head: int) -> None:
        self.n_head = n_head

    def forward(self, x: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.split_one, x, n_head=self.n_head)


class AttendHeads(Layer):
    """softmax(q kᵀ / √D + mask) v for each head: queries, keys and values (B, n_head, T, D) to (B, n_head, T, D)."""

    def __init__(
        self,
        causal: bool = True,
        dropout: float = 0.0,
        *,
        precision: Precision = "float32",
        rng: Generator | None = None,
    ) -> None:
        check_precision("AttendHeads", precision)
        self.causal = causal
        self.dropout = dropout
        self.precision = precision
        self.rng = rng

    def forward(
        self, q: ArrayOrTensor, k: ArrayOrTensor, v: ArrayOrTensor, mask: ArrayOrTensor | None = None
    ) -> ArrayOrTensor:
        learns = isinstance(mask, Tensor) and mask.requires_grad
        return self.apply(
            ops.attention,
            q,
            k,
            v,
            *([mask] if learns else []),
            **({} if learns else {"mask": mask}),
            causal=self.causal,
            dropout_p=self.dropout if self.training else 0.0,
            rng=default_generator() if self.rng is None else self.rng,
            precision=self.precision,
        )


class MergeHeads(Layer):
    """The outputs of all heads (B, n_head, T, D) side by side: (B, T, C)."""

    def forward(self, y: ArrayOrTensor) -> ArrayOrTensor:
        return self.apply(ops.merge_heads, y)


class AttendBetween(Module):
    """Multi-head self-attention whose queries and keys each go through a module first: (B, T, 3C) to (B, T, C).

    The modules take and return (B, n_head, T, D): a norm, a rotation by position. ``precision``: of the matrix products
    of attention, see ``ops.precision``.
    """

    def __init__(
        self,
        on_queries: Module,
        on_keys: Module,
        n_head: int,
        causal: bool = True,
        dropout: float = 0.0,
        *,
        precision: Precision = "float32",
        rng: Generator | None = None,
    ) -> None:
        self.split = SplitHeads(n_head)
        self.on_queries = on_queries
        self.on_keys = on_keys
        self.attend = AttendHeads(causal, dropout, precision=precision, rng=rng)
        self.merge = MergeHeads()

    def forward(self, qkv: ArrayOrTensor, mask: ArrayOrTensor | None = None) -> ArrayOrTensor:
        q, k, v = self.split(qkv)
        return self.merge(self.attend(self.on_queries(q), self.on_keys(k), v, mask))

    def backward(self, dy: Array) -> Array:
        dq, dk, dv = self.attend.backward(self.merge.backward(dy))
        return self.split.backward((self.on_queries.backward(dq), self.on_keys.backward(dk), dv))


class MultiHeadAttention(Module):
    """Self-attention with n_head heads: (B, T, n_embd) to (B, T, n_embd).

    ``mask`` (broadcast to (B, n_head, T, T)) is true where attending is allowed, or is added to the scores; on the tape
    an added mask may be a Parameter, such as a bias for each distance, that gets a gradient.

    ``n_kv_head`` heads of keys and values, by default n_head, are shared by all queries. A head has ``head_dim``
    components, by default n_embd / n_head. ``qk_norm_eps`` normalises queries and keys, ``rope_base`` turns them by
    position; ``window`` and ``scale``: see ``ops.attention``. ``precision``: of all matrix products, see
    ``ops.precision``.

    ``on_queries`` and ``on_keys``, given together, are modules of your own that queries and keys (B, n_head, T, D) go
    through before attention, in place of these four options.

    Raises ValueError if the numbers of heads do not fit together, if only one of the two modules is given, or for an
    unknown precision.
    """

    attend: Attend | AttendBetween

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        bias: bool = True,
        dropout: float = 0.0,
        causal: bool = True,
        *,
        n_kv_head: int | None = None,
        head_dim: int | None = None,
        window: int = 0,
        scale: float | None = None,
        qk_norm_eps: float | None = None,
        rope_base: float | None = None,
        on_queries: Module | None = None,
        on_keys: Module | None = None,
        precision: Precision = "float32",
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        made: dict[str, Any] = {"precision": precision, "rng": rng}
        self.n_embd, self.n_head = n_embd, n_head = index(n_embd), index(n_head)
        if n_head < 1 or (head_dim is None and n_embd % n_head):
            raise ValueError(f"MultiHeadAttention: n_embd {n_embd} must be a multiple of n_head {n_head}")
        self.n_kv_head = K = n_head if n_kv_head is None else index(n_kv_head)
        if K < 1 or n_head % K:
            raise ValueError(f"MultiHeadAttention: n_head {n_head} must be a multiple of n_kv_head {K}")
        self.head_dim = D = n_embd // n_head if head_dim is None else index(head_dim)
        self.project_in = Linear(n_embd, (n_head + 2 * K) * D, bias, dtype=dtype, **made)
        self.project_in.weight.widths = (n_head * D, K * D, K * D)
        options: dict[str, Any] = {"window": window, "scale": scale, "qk_norm_eps": qk_norm_eps, "rope_base": rope_base}
        if on_queries is None and on_keys is None:
            self.attend = Attend(n_head, causal, dropout, n_kv_head=K, **options, **made)
        elif on_queries is None or on_keys is None:
            raise ValueError("MultiHeadAttention: on_queries and on_keys must be given together")
        elif any(options.values()) or n_head != K:
            raise ValueError(
                f"MultiHeadAttention: {', '.join(options)} and n_kv_head have no effect with on_queries and on_keys"
            )
        else:
            self.attend = AttendBetween(on_queries, on_keys, n_head, causal, dropout, **made)
        self.project_out = Linear(n_head * D, n_embd, bias, dtype=dtype, **made)
        self.dropout = Dropout(dropout, rng=rng)

    def forward(
        self, x: ArrayOrTensor, mask: ArrayOrTensor | None = None, kv_cache: KeysAndValues | None = None
    ) -> ArrayOrTensor:
        cached = {} if kv_cache is None else {"kv_cache": kv_cache}  # AttendBetween takes none
        return self.dropout(self.project_out(self.attend(self.project_in(x), mask, **cached)))

    def backward(self, dy: Array) -> Array:
        return self.project_in.backward(self.attend.backward(self.project_out.backward(self.dropout.backward(dy))))


class CrossAttention(Module):
    """Attention of one sequence to another: q (B, T, n_embd), k (B, S, kdim) and v (B, S, vdim) to (B, T, n_embd).

    Each has a projection of its own to n_head heads. ``forward(q)`` attends to q itself, ``forward(q, k)`` takes the
    values from k too. ``mask`` (broadcast to (B, n_head, T, S)) is true where attending is allowed, or is added to the
    scores. kdim and vdim are n_embd by default. Not causal by default. ``precision``: of all matrix products, see
    ``ops.precision``.

    By hand ``backward`` returns the gradients of the arrays that ``forward`` got: one, or a tuple of two or three.

    Raises ValueError if n_head does not divide n_embd, or for an unknown precision.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        bias: bool = True,
        dropout: float = 0.0,
        causal: bool = False,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        precision: Precision = "float32",
        rng: Generator | None = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.n_embd, self.n_head = n_embd, n_head = index(n_embd), index(n_head)
        if n_head < 1 or n_embd % n_head:
            raise ValueError(f"CrossAttention: n_embd {n_embd} must be a multiple of n_head {n_head}")
        sizes = (n_embd, n_embd if kdim is None else kdim, n_embd if vdim is None else vdim)
        self.project_q, self.project_k, self.project_v = (
            Linear(size, n_embd, bias, precision=precision, rng=rng, dtype=dtype) for size in sizes
        )
        self.split_q, self.split_k, self.split_v = (SplitOne(n_head) for _ in range(3))
        self.attend = AttendHeads(causal, dropout, precision=precision, rng=rng)
        self.merge = MergeHeads()
        self.project_out = Linear(n_embd, n_embd, bias, precision=precision, rng=rng, dtype=dtype)
        self.dropout = Dropout(dropout, rng=rng)
        self._given = 1

    def forward(
        self,
        q: ArrayOrTensor,
        k: ArrayOrTensor | None = None,
        v: ArrayOrTensor | None = None,
        mask: ArrayOrTensor | None = None,
    ) -> ArrayOrTensor:
        vars(self)["_given"] = 1 if k is None else 2 if v is None else 3
        k = q if k is None else k
        v = k if v is None else v
        heads = (
            self.split_q(self.project_q(q)),
            self.split_k(self.project_k(k)),
            self.split_v(self.project_v(v)),
        )
        return self.dropout(self.project_out(self.merge(self.attend(*heads, mask))))

    def backward(self, dy: Array) -> Any:
        dy = self.merge.backward(self.project_out.backward(self.dropout.backward(dy)))
        d_heads = self.attend.backward(dy)
        dq = self.project_q.backward(self.split_q.backward(d_heads[0]))
        dk = self.project_k.backward(self.split_k.backward(d_heads[1]))
        dv = self.project_v.backward(self.split_v.backward(d_heads[2]))
        # An array that was used twice gets the sum of both gradients.
        if self._given == 3:
            return dq, dk, dv
        return (dq, dk + dv) if self._given == 2 else dq + dk + dv
