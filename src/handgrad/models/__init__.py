"""Whole models."""

from handgrad.models.gpt import GPT, GPTConfig
from handgrad.models.gpt2_names import gpt2_name

__all__ = ["GPT", "GPTConfig", "gpt2_name"]
