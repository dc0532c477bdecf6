"""Optimizers with PyTorch's semantics, learning rate schedules, gradient clipping."""

from handgrad.optim import schedules
from handgrad.optim.adam import Adam, AdamW
from handgrad.optim.clip import clip_grad_norm
from handgrad.optim.optimizer import Optimizer
from handgrad.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "clip_grad_norm", "schedules"]
