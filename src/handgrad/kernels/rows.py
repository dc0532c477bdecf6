"""Products of a few rows with a matrix, at the speed at which memory delivers the matrix.

Each number is computed by the same instructions in the same order, however many rows there are, and however many
threads share the columns: a text that is continued alone gets the bits that it gets among others. A BLAS chooses its
order by the number of rows.
"""

import numpy as np

from handgrad.system.compiling import compiled_in_order, inlined

_ZERO = np.float32(0)
GROUP = 4
"""Rows of a table that are multiplied at the same time; whoever divides a table divides it at multiples of this."""


@compiled_in_order
def multiply_rows(x, data, start, begin, end, y):  # type: ignore[no-untyped-def]
    """Columns ``begin`` to before ``end`` of y (B, O) ← x (B, I) W, for a matrix W (I, O) that begins at ``start`` in a
    flat array. The matrix passes once, four rows at a time.

    A sum is taken in the order of the rows, term by term. Two rows of x share what is read of the matrix.
    """
    B, inner = x.shape
    columns, width = y.shape[1], end - begin
    for b in range(B):
        y[b, begin:end] = _ZERO
    for i in range(0, inner - 3, 4):
        place = start + i * columns + begin
        w0, w1 = data[place : place + width], data[place + columns : place + columns + width]
        place += 2 * columns
        w2, w3 = data[place : place + width], data[place + columns : place + columns + width]
        for b in range(0, B - 1, 2):
            p0, p1, p2, p3, first = x[b, i], x[b, i + 1], x[b, i + 2], x[b, i + 3], y[b, begin:end]
            q0, q1, q2, q3, second = x[b + 1, i], x[b + 1, i + 1], x[b + 1, i + 2], x[b + 1, i + 3], y[b + 1, begin:end]
            for o in range(width):
                first[o] = (((first[o] + p0 * w0[o]) + p1 * w1[o]) + p2 * w2[o]) + p3 * w3[o]
                second[o] = (((second[o] + q0 * w0[o]) + q1 * w1[o]) + q2 * w2[o]) + q3 * w3[o]
        if B % 2:
            p0, p1, p2, p3, last = x[B - 1, i], x[B - 1, i + 1], x[B - 1, i + 2], x[B - 1, i + 3], y[B - 1, begin:end]
            for o in range(width):
                last[o] = (((last[o] + p0 * w0[o]) + p1 * w1[o]) + p2 * w2[o]) + p3 * w3[o]
    for i in range(inner - inner % 4, inner):
        place = start + i * columns + begin
        w = data[place : place + width]
        for b in range(B):
            component, row = x[b, i], y[b, begin:end]
            for o in range(width):
                row[o] += component * w[o]


@inlined
def multiply_rows_bt(x, data, start, begin, end, y):  # type: ignore[no-untyped-def]
    """Columns ``begin`` to before ``end`` of y (B, V) ← x (B, C) Tᵀ, for a table T (V, C) that begins at ``start`` in a
    flat array. Each row of the table, once read, meets all rows of x. ``begin`` is a multiple of GROUP, and ``end`` too
    unless it is V.
    """
    C = x.shape[1]
    last = begin + (end - begin) // GROUP * GROUP
    for v in range(begin, last, GROUP):
        place = start + v * C
        t0, t1 = data[place : place + C], data[place + C : place + 2 * C]
        t2, t3 = data[place + 2 * C : place + 3 * C], data[place + 3 * C : place + 4 * C]
        for b in range(x.shape[0]):
            s0, s1, s2, s3, row = _ZERO, _ZERO, _ZERO, _ZERO, x[b]
            for c in range(C):
                s0 += row[c] * t0[c]
                s1 += row[c] * t1[c]
                s2 += row[c] * t2[c]
                s3 += row[c] * t3[c]
            y[b, v], y[b, v + 1], y[b, v + 2], y[b, v + 3] = s0, s1, s2, s3
    for v in range(last, end):
        for b in range(x.shape[0]):
            s, row, t = _ZERO, x[b], data[start + v * C : start + (v + 1) * C]
            for c in range(C):
                s += row[c] * t[c]
            y[b, v] = s
