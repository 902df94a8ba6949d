"""``read_ahead``: in the order given, in threads, in a forked process too."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tai_dpt.backbones.read_ahead import read_ahead


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_and_no_further_ahead_than_asked(workers: int) -> None:
    started: list[int] = []

    def read(item: int) -> int:
        started.append(item)
        return item * item

    results = read_ahead(range(20), read, at_most=4, workers=workers)
    for index in range(20):
        assert next(results) == index * index
        assert len(started) <= index + 4
    assert next(results, None) is None


def test_what_a_reader_raises_is_raised_and_the_rest_is_left() -> None:
    started: list[int] = []

    def read(item: int) -> int:
        started.append(item)
        if item == 3:
            raise OSError("gone")
        return item

    with pytest.raises(OSError, match="gone"):
        list(read_ahead(range(1000), read, at_most=4, workers=2))
    assert len(started) < 10


FORKED = """
import os, threading
import torch
from tai_dpt.backbones.read_ahead import read_ahead

def torch_threads(_):
    return len(os.listdir("/proc/self/task")) - threading.active_count()

torch.set_num_threads(2)
torch.zeros(100_000) + 1  # computed before, as by whoever forks a loaded model
if os.fork() == 0:
    found = list(read_ahead([0], torch_threads, at_most=1, workers=1))
    os._exit(0 if found == [1] else 1)
os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_in_a_forked_process_torch_has_its_threads_before_ours_begin() -> None:
    """Two of ours that made torch's pool at once ended in "Invalid thread pool!"."""
    assert subprocess.run([sys.executable, "-c", FORKED], check=False).returncode == 0
