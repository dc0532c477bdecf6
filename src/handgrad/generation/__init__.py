"""Sampling text from a model."""

from handgrad.generation.generate import generate
from handgrad.generation.stopping import Start, opening, start_of
from handgrad.generation.strategies import DEFAULT_TEMPERATURE, Strategy
from handgrad.generation.writing import decoded_as_it_comes, pieces_of, write

__all__ = [
    "DEFAULT_TEMPERATURE",
    "Start",
    "Strategy",
    "decoded_as_it_comes",
    "generate",
    "opening",
    "pieces_of",
    "start_of",
    "write",
]
