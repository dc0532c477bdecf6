"""Language models: their architecture, forward and backward, and the files that store them."""

from handgrad.models.cache import KVCache
from handgrad.models.config import Architecture, GPTConfig
from handgrad.models.gpt import GPT
from handgrad.models.language_model import LanguageModel
from handgrad.models.loading import load, new_model
from handgrad.models.matrix_products import Product

__all__ = ["GPT", "Architecture", "GPTConfig", "KVCache", "LanguageModel", "Product", "load", "new_model"]
