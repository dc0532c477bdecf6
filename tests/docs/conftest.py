"""The tests of the lessons use what makes them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "scripts" / "lessons"))
