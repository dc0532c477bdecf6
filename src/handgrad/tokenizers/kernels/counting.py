"""How often each piece of a text occurs."""

import numpy as np

from handgrad.system.arrays import Array
from handgrad.system.compiling import compiled
from handgrad.tokenizers.kernels.hashing import equal, hash_of
from handgrad.tokenizers.kernels.splitting import piece_end


@compiled
def count_pieces(text: Array, ends: Array, pattern: int) -> tuple[Array, Array, Array]:
    """The distinct pieces of concatenated texts that end at ``ends``, int64.

    Three arrays, int64 (pieces,): the first position of each piece, its length in bytes, its count.
    """
    slots = np.full(1 << 12, -1, np.int32)
    room = 1 << 11
    starts, lengths, counts = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    hashes = np.empty(room, np.uint64)
    count, i = 0, 0
    for text_end in ends:
        while i < text_end:
            end = piece_end(text, i, text_end, pattern)
            value, length = hash_of(text, i, end), end - i
            slot = np.int64(value & np.uint64(len(slots) - 1))
            while True:
                known = slots[slot]
                if known < 0:
                    break
                if (
                    hashes[known] == value
                    and lengths[known] == length
                    and equal(text[starts[known] :], text[i:], length)
                ):
                    break
                slot = (slot + 1) & (len(slots) - 1)
            if known >= 0:
                counts[known] += 1
            else:
                slots[slot] = count
                starts[count], lengths[count], counts[count], hashes[count] = i, length, 1, value
                count += 1
            if count == room:  # the table is half full
                room *= 2
                starts, lengths, counts = _longer(starts), _longer(lengths), _longer(counts)
                hashes = _longer(hashes)
                slots = np.full(2 * room, -1, np.int32)
                for piece in range(count):
                    slot = np.int64(hashes[piece] & np.uint64(len(slots) - 1))
                    while slots[slot] >= 0:
                        slot = (slot + 1) & (len(slots) - 1)
                    slots[slot] = piece
            i = end
    return starts[:count].copy(), lengths[:count].copy(), counts[:count].copy()


@compiled
def _longer(array: Array) -> Array:
    longer = np.empty(2 * len(array), array.dtype)
    longer[: len(array)] = array
    return longer
