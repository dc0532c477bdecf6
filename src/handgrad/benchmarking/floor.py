"""The floor of a training step: the time of its matrix products alone, on the same shapes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from handgrad.backend import products_shared_by
from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.contenders import BF16, Contender
from handgrad.models import Product
from handgrad.ops.precision import Precision
from handgrad.runs import choose_shards, choose_threads
from handgrad.system.arrays import Array
from handgrad.system.threads import Team
from handgrad.training.replicas import cores_for

PRODUCTS = "matrix products alone"


def flops_of(case: Case) -> int:
    """Multiplications and additions in the matrix products of a whole step."""
    return sum(product.flops for product in case.products(1))


def products_contender(case: Case, shards: int = 0, threads: int = 0, *, bfloat16: bool = False) -> Contender:
    """Computes only the products of a step, those of each shard in one thread.

    All threads share the products of a single shard: BLAS uses threads of its own, as it does whenever it is called.

    In bfloat16 our own kernel multiplies, as nobody else's can be called for each matrix: rounding its operands belongs
    to a product.
    """
    count = choose_shards(shards, case.batch_size)
    work = multiplier(case.products(count), count, "bfloat16" if bfloat16 else "float32")
    team = Team(choose_threads(threads, count))

    def run() -> float:
        with products_shared_by(team) if count == 1 and bfloat16 else nullcontext():
            team.map(work, range(count))
        return 0.0

    name = f"{PRODUCTS}{BF16}" if bfloat16 else PRODUCTS
    return Contender(name, run, lambda: cores_for_products(count, team.size), close=team.close)


def cores_for_products(shards: int, threads: int) -> AbstractContextManager[Any]:
    """A context in which BLAS has the cores that nobody else uses."""
    return threadpool_limits(limits=threads, user_api="blas") if shards == 1 else cores_for(shards)


def multiplier(products: list[Product], callers: int, precision: Precision = "float32") -> Callable[[int], None]:
    """A function of a caller's number that computes all products once, in arrays of that caller's own."""
    product_into = _product_into(precision)
    arrays = [[_arrays(product) for product in products] for _ in range(callers)]

    def multiply(caller: int) -> None:
        for product, (a, b, c) in zip(products, arrays[caller], strict=True):
            for _ in range(product.count):
                product_into(a, b, c)

    return multiply


def _product_into(precision: Precision) -> Callable[[Array, Array, Array], object]:
    if precision == "float32":
        return lambda a, b, c: np.matmul(a, b, out=c)
    from handgrad.kernels.products import multiply_arrays  # needs Numba

    return lambda a, b, c: multiply_arrays(a, b, c, precision)


def _arrays(product: Product) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int, by_rows: bool) -> np.ndarray:
        shape = (rows, columns) if by_rows else (columns, rows)
        values = rng.standard_normal(shape, dtype=np.float32)
        return values if by_rows else values.T

    a = matrix(product.rows, product.inner, product.rows_first)
    b = matrix(product.inner, product.columns, product.columns_first)
    return a, b, np.empty((product.rows, product.columns), np.float32)
