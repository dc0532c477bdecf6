"""Corpora, token files, batches of arrays. Knows nothing of the model."""

from handgrad.data.batches import random_batch, sequential_batches
from handgrad.data.corpora import DATASETS, Corpus, load_dataset, load_text
from handgrad.data.token_files import TokenData, encode_corpus, open_token_files, write_token_files

__all__ = [
    "DATASETS",
    "Corpus",
    "TokenData",
    "encode_corpus",
    "load_dataset",
    "load_text",
    "open_token_files",
    "random_batch",
    "sequential_batches",
    "write_token_files",
]
