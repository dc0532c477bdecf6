"""Sampling from a model."""

from handgrad.generation.generate import generate
from handgrad.generation.strategies import Strategy

__all__ = ["Strategy", "generate"]
