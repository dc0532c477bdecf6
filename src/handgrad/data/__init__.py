"""Corpora, token files, batches of arrays. Independent of the model."""

from handgrad.data.baselines import Baselines, baselines_of
from handgrad.data.batches import IGNORED, n_targets, random_batch, sequential_batches
from handgrad.data.checksums import BlockChecksums
from handgrad.data.corpora import DATASETS, DEFAULT_DATASET, Corpus, load_dataset, load_text
from handgrad.data.document_windows import DocumentWindows
from handgrad.data.epochs import Epochs
from handgrad.data.finding import Choices, Skipped, Stream
from handgrad.data.preparing import Prepared, check_is_empty, prepare_in_memory, prepare_token_files
from handgrad.data.token_files import TokenData, count_unknown, encode_corpus, open_token_files, write_token_files

__all__ = [
    "DATASETS",
    "DEFAULT_DATASET",
    "IGNORED",
    "Baselines",
    "BlockChecksums",
    "Choices",
    "Corpus",
    "DocumentWindows",
    "Epochs",
    "Prepared",
    "Skipped",
    "Stream",
    "TokenData",
    "baselines_of",
    "check_is_empty",
    "count_unknown",
    "encode_corpus",
    "load_dataset",
    "load_text",
    "n_targets",
    "open_token_files",
    "prepare_in_memory",
    "prepare_token_files",
    "random_batch",
    "sequential_batches",
    "write_token_files",
]
