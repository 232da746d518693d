"""Keep the memory that tensors on a CPU have freed, for the tensors of the next step.

glibc maps blocks of more than 32 MiB anew at each request, and gives the end of its heap back to the system when a
few of them lie free there. Activations are such blocks: each step then spends its time in page faults, in which the
system clears page after page. With 128 images of 64 x 64 half of a step was that (experiments/speed).
"""

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, in glibc's malloc.h
NEVER, LARGEST = -1, (2**30, 2**25)  # bytes; larger blocks are mapped as before. Older versions take no more than 2**25
# A user who has chosen how memory is allocated keeps that.
CHOSEN = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Tell this process's malloc to keep what is freed; return False where it is not glibc's, or the user's choice."""
    if platform.libc_ver()[0] != "glibc" or any(os.environ.get(name) for name in CHOSEN):
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(TRIM_THRESHOLD, NEVER)) and any(libc.mallopt(MMAP_THRESHOLD, size) for size in LARGEST)
