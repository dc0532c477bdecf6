"""Operands of a product, copied into the order in which its innermost loop reads them, and rounded on the way.

A *group* is 32 bits: one term of float32, or two terms of bfloat16. See ``instructions``. Addresses are integers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from handgrad.kernels.products.instructions import groups_of_columns, square_of_groups
from handgrad.system.compiling import called

_SIXTEEN, _LOWER = np.uint32(16), np.uint32(0xFFFF)
_SIGN, _ABSOLUTE, _EXPONENT = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
_JUST_BELOW_HALF, _ONE, _QUIET = np.uint32(0x7FFF), np.uint32(1), np.uint32(0x400000)
_NOTHING = np.uint32(0)


class Packers(NamedTuple):
    """Functions that pack one kind of groups."""

    columns: Callable[..., None]
    """``columns(source, row, columns, terms, target, width, target_row)``: for each group of terms of a matrix (terms,
    columns), that of each column, side by side, and zeros for the rest of ``width`` columns. Those of the next group
    begin ``target_row`` groups later.
    """
    transposed: Callable[..., None]
    """As ``columns``, of the transpose of a matrix (columns, terms)."""


@intrinsic
def _bits_at(context, address):  # type: ignore[no-untyped-def]
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = _context.get_value_type(types.uint32)
        return builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))

    return types.uint32(types.int64), generate


@intrinsic
def _write_bits(context, address, bits):  # type: ignore[no-untyped-def]
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        address, bits = arguments
        builder.store(bits, builder.inttoptr(address, bits.type.as_pointer()))
        return _context.get_dummy_value()

    return types.void(types.int64, types.uint32), generate


@called
def rounded_bits(bits):  # type: ignore[no-untyped-def]
    """A float32, as bits, rounded as ``ops.precision.rounded_to_bfloat16`` does."""
    rounded = np.uint32(bits + _JUST_BELOW_HALF + ((bits >> _SIXTEEN) & _ONE))
    if bits & _EXPONENT == _NOTHING:
        rounded = np.uint32(bits & _SIGN)
    if (bits & _ABSOLUTE) > _EXPONENT:
        rounded = np.uint32(bits | _QUIET)
    return np.uint32(rounded & ~_LOWER)


@called
def round_all(address, count):  # type: ignore[no-untyped-def]
    """Rounds so many float32 numbers to bfloat16 in place."""
    for i in range(count):
        _write_bits(address + 4 * i, rounded_bits(_bits_at(address + 4 * i)))


@called
def write_zeros(address, count):  # type: ignore[no-untyped-def]
    """Writes so many zeros of float32."""
    for i in range(count):
        _write_bits(address + 4 * i, _NOTHING)


@called
def _write_one(first, second, has_second, target):  # type: ignore[no-untyped-def]
    _write_bits(target, _bits_at(first))


@called
def _write_pair(first, second, has_second, target):  # type: ignore[no-untyped-def]
    bits = rounded_bits(_bits_at(first)) >> _SIXTEEN
    if has_second:
        bits |= rounded_bits(_bits_at(second))
    _write_bits(target, np.uint32(bits))


def packers(lanes: int, bfloat16: bool) -> Packers:
    """The functions for groups of bfloat16 or of float32, in vectors of ``lanes`` groups."""
    pack_group, pack_square = groups_of_columns(lanes, bfloat16), square_of_groups(lanes, bfloat16)
    group, write = (2, _write_pair) if bfloat16 else (1, _write_one)
    at_once = lanes * group

    @called
    def columns_(source, row, columns, terms, target, width, target_row):  # type: ignore[no-untyped-def]
        whole = columns - columns % lanes
        for k in range(0, terms, group):
            first, out = source + 4 * k * row, target + 4 * (k // group) * target_row
            has_second = k + 1 < terms
            second = first + 4 * row if has_second else first
            vectors = whole if has_second or group == 1 else 0
            for j in range(0, vectors, lanes):
                pack_group(first + 4 * j, second + 4 * j, out + 4 * j)
            for j in range(vectors, columns):
                write(first + 4 * j, second + 4 * j, has_second, out + 4 * j)
            for j in range(columns, width):
                _write_bits(out + 4 * j, _NOTHING)

    @called
    def transposed(source, row, columns, terms, target, width, target_row):  # type: ignore[no-untyped-def]
        whole = columns - columns % lanes
        squares = terms - terms % at_once
        for j in range(0, whole, lanes):
            for k in range(0, squares, at_once):
                pack_square(source + 4 * (j * row + k), row, target + 4 * ((k // group) * target_row + j), target_row)
        for j in range(columns):
            for k in range(squares if j < whole else 0, terms, group):
                at = source + 4 * (j * row + k)
                write(at, at + 4, k + 1 < terms, target + 4 * ((k // group) * target_row + j))
        for j in range(columns, width):
            for k in range(0, terms, group):
                _write_bits(target + 4 * ((k // group) * target_row + j), _NOTHING)

    return Packers(columns_, transposed)
