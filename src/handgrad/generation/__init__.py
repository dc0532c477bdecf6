"""Sampling text from a model."""

from handgrad.generation.generate import generate
from handgrad.generation.strategies import DEFAULT_TEMPERATURE, Strategy
from handgrad.generation.writing import opening, write

__all__ = ["DEFAULT_TEMPERATURE", "Strategy", "generate", "opening", "write"]
