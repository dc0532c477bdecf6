"""Sampling text from a model."""

from handgrad.generation.generate import generate
from handgrad.generation.strategies import Strategy
from handgrad.generation.writing import opening, write

__all__ = ["Strategy", "generate", "opening", "write"]
