"""The version of handgrad."""

__version__ = "0.1.0"
