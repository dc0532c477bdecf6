"""Tests that call compiled code by its own functions need Numba."""

from importlib.util import find_spec

collect_ignore = (
    [] if find_spec("numba") else ["test_products.py", "test_product_memory.py", "test_crew.py", "test_tiles.py"]
)
