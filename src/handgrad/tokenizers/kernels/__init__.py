"""Splitting, counting, merging and learning, compiled with Numba. Their definition is the Python beside this package.

Texts come as UTF-8, uint8 (n,).
"""

from handgrad.tokenizers.kernels.learning import learn_merges
from handgrad.tokenizers.kernels.pieces import (
    PATTERN_NUMBERS,
    count_pieces,
    encode_pieces,
    encode_words,
    new_cache,
    pair_table,
    split_pieces,
    word_table,
)

__all__ = [
    "PATTERN_NUMBERS",
    "count_pieces",
    "encode_pieces",
    "encode_words",
    "learn_merges",
    "new_cache",
    "pair_table",
    "split_pieces",
    "word_table",
]
