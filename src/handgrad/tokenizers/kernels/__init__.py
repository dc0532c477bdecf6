"""Splitting, counting, merging and learning, compiled with Numba. The Python code beside this package defines them.

Texts are UTF-8, uint8 (n,).
"""

from handgrad.tokenizers.kernels.counting import count_pieces
from handgrad.tokenizers.kernels.learning import learn_merges
from handgrad.tokenizers.kernels.merging import encode_pieces, new_cache, pair_table
from handgrad.tokenizers.kernels.splitting import PATTERN_NUMBERS, split_pieces
from handgrad.tokenizers.kernels.words import encode_words, word_table

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
