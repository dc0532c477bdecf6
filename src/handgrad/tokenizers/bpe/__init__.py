"""Byte-pair encoding: learns merges from a text, applies them to texts, and exchanges them with other libraries."""

from handgrad.tokenizers.bpe.tokenizer import BPETokenizer

__all__ = ["BPETokenizer"]
