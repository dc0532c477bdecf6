"""The innermost loops of matrix products, generated as LLVM code, because Numba cannot be led to write them.

A product is made of tiles, which stay in the processor's registers while the loop runs over the terms of their sums.
One step of this loop adds a *group* of terms to each number of a tile: one product of float32, or two products of
bfloat16, which lie together in 32 bits. The loop is the same for both; only the instruction differs.

    a    a strip: for each step the groups of all its rows, side by side, of which a tile reads some, one at a time
    b    a panel: for each step the groups of all columns of a tile, side by side

Addresses are integers. Groups of bfloat16 have the earlier term in the lower half.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_int1, _int32, _int64, _float = ir.IntType(1), ir.IntType(32), ir.IntType(64), ir.FloatType()
_SMALLEST_NORMAL = 2.0**-126


class _BFloat(ir.Type):
    """LLVM's type bfloat, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash("bfloat")


_PAIRS = ir.VectorType(_BFloat(), 32)


def _floats(lanes: int) -> ir.VectorType:
    return ir.VectorType(_float, lanes)


def _integers(lanes: int) -> ir.VectorType:
    return ir.VectorType(_int32, lanes)


def _indices(numbers: list[int]) -> ir.Constant:
    return ir.Constant(_integers(len(numbers)), numbers)


def _load(builder: ir.IRBuilder, address: Any, kind: ir.Type) -> Any:
    loaded = builder.load(builder.inttoptr(address, kind.as_pointer()))
    loaded.align = 4
    return loaded


def _store(builder: ir.IRBuilder, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 4


def _everywhere(builder: ir.IRBuilder, value: Any, lanes: int) -> Any:
    """A vector whose lanes all hold the value."""
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_int32, 0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), _indices([0] * lanes))


def _plus(builder: ir.IRBuilder, address: Any, times: Any, by: Any) -> Any:
    return builder.add(address, builder.mul(times, by))


def _add_group(builder: ir.IRBuilder, lanes: int, bfloat16: bool, total: Any, a: Any, b: Any) -> Any:
    """Total plus the product of a and b in each lane; a and b are groups, as integers."""
    if bfloat16:
        kind = ir.FunctionType(_floats(16), [_floats(16), _PAIRS, _PAIRS])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
        return builder.call(function, [total, builder.bitcast(a, _PAIRS), builder.bitcast(b, _PAIRS)])
    kind = _floats(lanes)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.v{lanes}f32"
    )
    return builder.call(function, [builder.bitcast(a, kind), builder.bitcast(b, kind), total])


def _flushed(builder: ir.IRBuilder, value: Any, lanes: int, wanted: Any) -> Any:
    """The value, with zeros for denormal numbers if wanted."""
    kind = _floats(lanes)
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), f"llvm.fabs.v{lanes}f32")
    limit = ir.Constant(kind, [_SMALLEST_NORMAL] * lanes)
    is_denormal = builder.fcmp_ordered("<", builder.call(function, [value]), limit)
    is_denormal = builder.and_(is_denormal, _everywhere(builder, wanted, lanes))
    return builder.select(is_denormal, ir.Constant(kind, [0.0] * lanes), value)


def tile(lanes: int, vectors: int, rows: int, strip: int, bfloat16: bool) -> Callable[..., None]:
    """The loop of a tile of ``rows`` by ``vectors`` · ``lanes``, of a strip of ``strip`` rows: an intrinsic

        f(a, b, steps, c, c_row, height, width, adds, flushes)

    that writes, or adds if ``adds``, the sums of its first ``height`` rows and ``width`` columns to c. Rows of c are
    ``c_row`` elements apart. ``flushes``: sums that are denormal count as zero; of bfloat16 they do anyway. ``steps``
    must be at least 1.
    """

    @intrinsic
    def product_of_tile(context, a, b, steps, c, c_row, height, width, adds, flushes):  # type: ignore[no-untyped-def]
        def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            _tile(builder, lanes, vectors, rows, strip, bfloat16, arguments)
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return product_of_tile


def _tile(
    builder: ir.IRBuilder, lanes: int, vectors: int, rows: int, strip: int, bfloat16: bool, arguments: Any
) -> None:
    a, b, steps, c, c_row, height, width, adds, flushes = arguments
    number = lambda value: ir.Constant(_int64, value)  # noqa: E731
    zeros = ir.Constant(_floats(lanes), [0.0] * lanes)
    before, loop, done = builder.block, builder.append_basic_block("terms"), builder.append_basic_block("sums")
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(_int64)
    k.add_incoming(number(0), before)
    groups, panel = builder.phi(_int64), builder.phi(_int64)
    groups.add_incoming(a, before)
    panel.add_incoming(b, before)
    sums = [[builder.phi(_floats(lanes)) for _ in range(vectors)] for _ in range(rows)]
    columns = [_load(builder, builder.add(panel, number(4 * lanes * j)), _integers(lanes)) for j in range(vectors)]
    for i in range(rows):
        group = _everywhere(builder, _load(builder, builder.add(groups, number(4 * i)), _int32), lanes)
        for j in range(vectors):
            total = _add_group(builder, lanes, bfloat16, sums[i][j], group, columns[j])
            sums[i][j].add_incoming(zeros, before)
            sums[i][j].add_incoming(total, loop)
            sums[i][j] = total
    following = builder.add(k, number(1))
    k.add_incoming(following, loop)
    groups.add_incoming(builder.add(groups, number(4 * strip)), loop)
    panel.add_incoming(builder.add(panel, number(4 * lanes * vectors)), loop)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, done)

    builder.position_at_end(done)
    adding = builder.icmp_signed("!=", adds, number(0))
    flushing = builder.icmp_signed("!=", flushes, number(0))
    c_bytes = builder.mul(c_row, number(4))
    is_whole = builder.icmp_signed(">=", width, number(lanes * vectors))
    with builder.if_else(is_whole) as (whole, partial):
        with whole:
            _write(builder, lanes, sums, c, c_bytes, height, adding, flushing, None, bfloat16)
        with partial:
            _write(builder, lanes, sums, c, c_bytes, height, adding, flushing, width, bfloat16)


def _write(  # type: ignore[no-untyped-def]
    builder: ir.IRBuilder, lanes: int, sums: Any, c: Any, c_bytes: Any, height: Any, adding: Any, flushing: Any, width,
    bfloat16: bool,
) -> None:  # fmt: skip
    """Writes the rows of a tile; with a width, only the columns before it."""
    number = lambda value: ir.Constant(_int64, value)  # noqa: E731
    for i, of_row in enumerate(sums):
        with builder.if_then(builder.icmp_signed(">", height, number(i))):
            for j, total in enumerate(of_row):
                value = total if bfloat16 else _flushed(builder, total, lanes, flushing)
                address = builder.add(_plus(builder, c, number(i), c_bytes), number(4 * lanes * j))
                if width is None:
                    with builder.if_else(adding) as (add, replace):
                        with add:
                            _store(builder, builder.fadd(_load(builder, address, value.type), value), address)
                        with replace:
                            _store(builder, value, address)
                else:
                    _write_some(builder, lanes, value, address, builder.sub(width, number(lanes * j)), adding)


def _write_some(builder: ir.IRBuilder, lanes: int, value: Any, address: Any, count: Any, adding: Any) -> None:
    """Writes, or adds, the first ``count`` lanes, which may be none or all."""
    mask_kind = ir.VectorType(_int1, lanes)
    limit = _everywhere(builder, builder.trunc(count, _int32), lanes)
    mask = builder.icmp_signed("<", _indices(list(range(lanes))), limit)
    place = builder.inttoptr(address, value.type.as_pointer())
    load = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(value.type, [value.type.as_pointer(), _int32, mask_kind, value.type]),
        f"llvm.masked.load.v{lanes}f32.p0",
    )
    store = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [value.type, value.type.as_pointer(), _int32, mask_kind]),
        f"llvm.masked.store.v{lanes}f32.p0",
    )
    align, zeros = ir.Constant(_int32, 4), ir.Constant(value.type, [0.0] * lanes)
    with builder.if_else(adding) as (add, replace):
        with add:
            before = builder.call(load, [place, align, mask, zeros])
            builder.call(store, [builder.fadd(before, value), place, align, mask])
        with replace:
            builder.call(store, [value, place, align, mask])


def _groups_of_row(builder: ir.IRBuilder, lanes: int, bfloat16: bool, address: Any) -> Any:
    """As many groups as there are lanes from consecutive floats."""
    if not bfloat16:
        return _load(builder, address, _integers(lanes))
    first = _load(builder, address, _floats(16))
    second = _load(builder, builder.add(address, ir.Constant(_int64, 64)), _floats(16))
    return builder.bitcast(_rounded(builder, first, second), _integers(16))


def _rounded(builder: ir.IRBuilder, first: Any, second: Any) -> Any:
    """Two vectors of 16 floats as one of 32 bfloat16: to the nearest, NaN stays NaN, denormal numbers become zeros."""
    kind = ir.FunctionType(_PAIRS, [_floats(16), _floats(16)])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.cvtne2ps2bf16.512")
    return builder.call(function, [second, first])  # the instruction's first operand goes to the upper half


def groups_of_columns(lanes: int, bfloat16: bool) -> Callable[..., None]:
    """An intrinsic ``f(first, second, target)``: a group of each of as many columns as there are lanes.

    The terms of a group lie in one column: for bfloat16 in the rows at ``first`` and ``second``, else in the first.
    """

    @intrinsic
    def pack_columns(context, first, second, target):  # type: ignore[no-untyped-def]
        def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            if bfloat16:
                rows = _rounded(builder, *(_load(builder, at, _floats(16)) for at in arguments[:2]))
                halves = builder.bitcast(rows, ir.VectorType(ir.IntType(16), 32))
                order = _indices([half + 16 * row for half in range(16) for row in range(2)])
                value = builder.shuffle_vector(halves, ir.Constant(halves.type, ir.Undefined), order)
                value = builder.bitcast(value, _integers(16))
            else:
                value = _load(builder, arguments[0], _integers(lanes))
            _store(builder, value, arguments[2])
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 3), generate

    return pack_columns


def square_of_groups(lanes: int, bfloat16: bool) -> Callable[..., None]:
    """An intrinsic ``f(source, row, target, step)``: of as many rows as there are lanes, as many groups, transposed.

    Rows of the source are ``row`` elements apart. The groups with number k of all rows go, side by side, to
    ``target`` + 4 k ``step``.
    """

    @intrinsic
    def pack_square(context, source, row, target, step):  # type: ignore[no-untyped-def]
        def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            source, row, target, step = arguments
            four = ir.Constant(_int64, 4)
            row_bytes, step_bytes = builder.mul(row, four), builder.mul(step, four)
            number = lambda value: ir.Constant(_int64, value)  # noqa: E731
            lines = [
                _groups_of_row(builder, lanes, bfloat16, _plus(builder, source, number(i), row_bytes))
                for i in range(lanes)
            ]
            for k, line in enumerate(_transposed(builder, lines)):
                _store(builder, line, _plus(builder, target, number(k), step_bytes))
            return _context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return pack_square


def _transposed(builder: ir.IRBuilder, lines: list[Any]) -> list[Any]:
    """A square of vectors, transposed: quarters change places in blocks of half the size, a quarter, and so on."""
    lanes, lines = len(lines), list(lines)
    distance = lanes // 2
    while distance:
        for i in range(lanes):
            if not i & distance:
                upper, lower = lines[i], lines[i | distance]
                to_upper = [lane if not lane & distance else lanes + lane - distance for lane in range(lanes)]
                to_lower = [lane + distance if not lane & distance else lanes + lane for lane in range(lanes)]
                lines[i] = builder.shuffle_vector(upper, lower, _indices(to_upper))
                lines[i | distance] = builder.shuffle_vector(upper, lower, _indices(to_lower))
        distance //= 2
    return lines
