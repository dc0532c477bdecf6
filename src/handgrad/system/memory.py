"""How much memory the machine has, and that freed memory is kept for the next step of training."""

import ctypes
import os

# Of malloc.h, in the C library of GNU.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Has the C library keep what arrays have freed, for the arrays of the next step; False where it cannot be told.

    Without this it returns large arrays to the system as they are freed, and the next step's are handed out as new
    pages, each of which is cleared by the kernel when first touched: up to a third of the time of a small GPT's step.
    Threads take from one heap, as what one has freed may serve another. Holds for the whole process, from now on.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library: its own ways stand
        return False
    # Older ones refuse more than 32 MiB.
    keeps_large = set_option(_MMAP_THRESHOLD, 1 << 30) or set_option(_MMAP_THRESHOLD, 1 << 25)
    keeps_all = set_option(_TRIM_THRESHOLD, _LARGEST)
    has_one_heap = set_option(_ARENA_MAX, 1)
    return bool(keeps_large and keeps_all and has_one_heap)


def physical_memory() -> int | None:
    """Bytes; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
