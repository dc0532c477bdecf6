"""Corpora, token files, batches of arrays. Independent of the model."""

from handgrad.data.baselines import Baselines, baselines_of
from handgrad.data.batches import random_batch, sequential_batches
from handgrad.data.checksums import BlockChecksums
from handgrad.data.corpora import DATASETS, DEFAULT_DATASET, Corpus, load_dataset, load_text
from handgrad.data.documents import Stream
from handgrad.data.preparing import Prepared, check_is_empty, prepare_token_files
from handgrad.data.token_files import TokenData, count_unknown, encode_corpus, open_token_files, write_token_files

__all__ = [
    "DATASETS",
    "DEFAULT_DATASET",
    "Baselines",
    "BlockChecksums",
    "Corpus",
    "Prepared",
    "Stream",
    "TokenData",
    "baselines_of",
    "check_is_empty",
    "count_unknown",
    "encode_corpus",
    "load_dataset",
    "load_text",
    "open_token_files",
    "prepare_token_files",
    "random_batch",
    "sequential_batches",
    "write_token_files",
]
