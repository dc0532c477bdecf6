"""What drives the derivatives. Nothing here knows a formula."""

from handgrad.autograd.grad_mode import enable_grad, is_grad_enabled, no_grad
from handgrad.autograd.random import default_generator, manual_seed

__all__ = ["default_generator", "enable_grad", "is_grad_enabled", "manual_seed", "no_grad"]
