"""Byte-pair encoding: merges learned from a text, applied to texts, and exchanged with other libraries."""

from handgrad.tokenizers.bpe.tokenizer import BPETokenizer

__all__ = ["BPETokenizer"]
