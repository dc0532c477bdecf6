"""The version of handgrad."""

__version__ = "0.2.0.dev0"
