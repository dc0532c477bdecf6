"""``python -m handgrad``, the same as the console script."""

import sys

from handgrad.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
