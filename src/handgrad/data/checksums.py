"""Checksums of token files, block by block: what is sampled is still what was hashed when training began."""

import hashlib
import zlib
from typing import Self

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

_BLOCK = 1 << 11
"""Ids that share a checksum: 4 KiB of uint16, so that a window of a hundred ids costs one or two checksums."""
_AT_A_TIME = _BLOCK << 11


class BlockChecksums:
    """The CRC-32 of each block of a memory-mapped array, whose file another program may change in place.

    CRC-32 finds every change of up to 32 bits in a row, and any other with a chance of 1 - 2⁻³². It guards against
    accidents, not against somebody who means harm.
    """

    def __init__(self, ids: Array, name: str, sums: Array) -> None:
        self._ids, self._name, self._sums = ids, name, sums

    @classmethod
    def of(cls, ids: Array, name: str) -> tuple[Self, str]:
        """The checksums of an array, and the SHA-256 of its ids, both of the same bytes; ``name`` is for messages."""
        found, sums = hashlib.sha256(), []
        for start in range(0, len(ids), _AT_A_TIME):
            portion = np.array(ids[start : start + _AT_A_TIME])  # copied: the file may change between the two hashes
            found.update(portion.data)
            sums += [zlib.crc32(portion[place : place + _BLOCK]) for place in range(0, len(portion), _BLOCK)]
        return cls(ids, name, np.array(sums, np.uint32)), found.hexdigest()

    def check_windows(self, starts: Array, length: int) -> None:
        """Raises InputError if a block under one of these windows has changed. Call it after they were copied."""
        firsts, lasts = starts // _BLOCK, (starts + length - 1) // _BLOCK
        blocks = {
            b for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True) for b in range(first, last + 1)
        }
        self._check(sorted(blocks))

    def check_beginning(self, length: int) -> None:
        """Raises InputError if a block under the first ``length`` ids has changed."""
        self._check(range(-(-min(length, len(self._ids)) // _BLOCK)))

    def _check(self, blocks: "list[int] | range") -> None:
        for block in blocks:
            start = block * _BLOCK
            if zlib.crc32(np.ascontiguousarray(self._ids[start : start + _BLOCK])) != self._sums[block]:
                raise InputError(
                    f"the {self._name} was changed while it was trained on, between the tokens {start:,} and "
                    f"{min(start + _BLOCK, len(self._ids)):,}; no step has used what was changed, and the last "
                    "checkpoint is sound: put the file back and resume"
                )
