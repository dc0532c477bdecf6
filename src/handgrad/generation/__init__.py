"""Sampling text from a model."""

from handgrad.generation.generate import Generation, Token, generate, generate_texts
from handgrad.generation.stopping import Start, opening, start_of
from handgrad.generation.strategies import DEFAULT_TEMPERATURE, Strategy
from handgrad.generation.writing import Piece, decoded_as_it_comes, pieces_of, pieces_of_texts, write

__all__ = [
    "DEFAULT_TEMPERATURE",
    "Generation",
    "Piece",
    "Start",
    "Strategy",
    "Token",
    "decoded_as_it_comes",
    "generate",
    "generate_texts",
    "opening",
    "pieces_of",
    "pieces_of_texts",
    "start_of",
    "write",
]
