"""Operations of ``ops`` compiled with Numba: same names, same signatures, for float32. ``ops`` is their definition.

What is not here runs as it stands in ``ops``.
"""

from handgrad.kernels.adam_update import adam_update
from handgrad.kernels.gelu import gelu, gelu_backward
from handgrad.kernels.layer_norm import layer_norm, layer_norm_backward

__all__ = ["adam_update", "gelu", "gelu_backward", "layer_norm", "layer_norm_backward"]
