"""How much memory the machine has, and how the process keeps freed memory for the next training step."""

import ctypes
import os

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Makes the C library keep the memory of freed arrays for the next step; False if it offers no such option.

    By default it returns large arrays to the system. The next step's arrays then get new pages, which the operating
    system clears on first use: up to a third of the time of a small GPT's step. Threads share one heap, so that memory
    freed by one can serve another. Applies to the whole process, from now on.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    # Older versions refuse more than 32 MiB.
    keeps_large = set_option(_MMAP_THRESHOLD, 1 << 30) or set_option(_MMAP_THRESHOLD, 1 << 25)
    keeps_all = set_option(_TRIM_THRESHOLD, _LARGEST)
    has_one_heap = set_option(_ARENA_MAX, 1)
    return bool(keeps_large and keeps_all and has_one_heap)


def physical_memory() -> int | None:
    """Bytes; None if the system does not report it."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
