"""Checksums of token files, block by block: what is sampled is still what was hashed when training began."""

import hashlib
import zlib
from typing import Self

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

_BLOCK = 1 << 10
"""Ids that share a checksum: 2 KiB of uint16, so that a window of a hundred ids costs one or two checksums."""
_AT_A_TIME = _BLOCK << 12


class BlockChecksums:
    """The CRC-32 of each block of a memory-mapped array, whose file another program may change in place.

    CRC-32 finds every change of up to 32 bits in a row, and any other with a chance of 1 - 2⁻³². It guards against
    accidents, not against somebody who means harm.
    """

    def __init__(self, ids: Array, name: str, sums: Array) -> None:
        self._bytes = _bytes_of(ids)
        self._size, self._each, self._name, self._sums = len(ids), ids.itemsize, name, sums

    @classmethod
    def of(cls, ids: Array, name: str) -> tuple[Self, str]:
        """The checksums of an array, and the SHA-256 of its ids, both of the same bytes; ``name`` is for messages."""
        found, sums = hashlib.sha256(), []
        for start in range(0, len(ids), _AT_A_TIME):
            portion = ids[start : start + _AT_A_TIME].tobytes()  # a copy: the file may change between the two hashes
            found.update(portion)
            blocks, length = memoryview(portion), _BLOCK * ids.itemsize
            sums += [zlib.crc32(blocks[place : place + length]) for place in range(0, len(portion), length)]
        return cls(ids, name, np.array(sums, np.uint32)), found.hexdigest()

    @property
    def of_all(self) -> int:
        """One checksum of the whole array."""
        return zlib.crc32(self._sums.tobytes())

    def check_windows(self, starts: Array, length: int) -> None:
        """Raises InputError if a block under one of these windows has changed. Call it after they were copied."""
        firsts, lasts = starts // _BLOCK, (starts + length - 1) // _BLOCK
        blocks = {
            b for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True) for b in range(first, last + 1)
        }
        self._check(sorted(blocks))

    def check_beginning(self, length: int) -> None:
        """Raises InputError if a block under the first ``length`` ids has changed."""
        self._check(range(-(-min(length, self._size) // _BLOCK)))

    def _check(self, blocks: "list[int] | range") -> None:
        length = _BLOCK * self._each
        for block in blocks:
            if zlib.crc32(self._bytes[block * length : (block + 1) * length]) != self._sums[block]:
                start = block * _BLOCK
                raise InputError(
                    f"the {self._name} was changed while it was trained on, between the tokens {start:,} and "
                    f"{min(start + _BLOCK, self._size):,}; no step has used what was changed, and the last "
                    "checkpoint is sound: put the file back and resume"
                )


def _bytes_of(ids: Array) -> memoryview:
    """The memory of an array. Slices of it are made several times as fast as those of a memory-mapped array."""
    return np.ascontiguousarray(ids).view(np.ndarray).view(np.uint8).data
