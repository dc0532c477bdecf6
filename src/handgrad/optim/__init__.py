"""Optimizers with PyTorch's semantics, learning rate schedules, gradient clipping."""

from handgrad.optim import lr_scheduler, schedules
from handgrad.optim.adam import Adam, AdamW
from handgrad.optim.averaging import WeightAverage
from handgrad.optim.clip import clip_grad_norm
from handgrad.optim.combined import Combined
from handgrad.optim.muon import Muon
from handgrad.optim.optimizer import Optimizer
from handgrad.optim.rmsprop import RMSprop
from handgrad.optim.sgd import SGD

clip_grad_norm_ = clip_grad_norm  # PyTorch's name

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Combined",
    "Muon",
    "Optimizer",
    "RMSprop",
    "WeightAverage",
    "clip_grad_norm",
    "clip_grad_norm_",
    "lr_scheduler",
    "schedules",
]
