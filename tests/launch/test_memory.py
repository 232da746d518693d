"""Memory that tensors have freed stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from inkwash.launch.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(12 * 2**20) for _ in range(4)]  # 48 MiB each, above glibc's limit
    assert all(float(tensor[-1]) == 1 for tensor in tensors)
    del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = [faults() for _ in range(3)][-1]
kept = keep_freed_memory()
print(kept, plain, [faults() for _ in range(8)][-1])
"""


def run(**variables: str) -> tuple[bool, int, int]:
    env = {name: value for name, value in os.environ.items() if name not in ("GLIBC_TUNABLES", "LD_PRELOAD")}
    out = subprocess.run(
        [sys.executable, "-c", FAULTS], env=env | variables, capture_output=True, text=True, check=True
    )
    kept, plain, after = out.stdout.split()
    return kept == "True", int(plain), int(after)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_blocks_are_cleared_once_not_at_each_step():
    kept, plain, after = run()
    if not kept:
        pytest.skip("this version of glibc does not take the settings")
    assert plain > 1000  # 192 MiB in pages of 4 KiB would be 49,152, in huge pages less
    assert after < plain / 20


@pytest.mark.slow
def test_a_users_choice_stays():
    kept, plain, after = run(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept
    assert after > plain / 2
