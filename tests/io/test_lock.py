"""Locks: between processes, between ranks, and where there are none."""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tai_dpt.errors import InputError
from tai_dpt.io import lock
from tai_dpt.io.lock import Lock, locked, try_lock

from places import ROOT

POSIX_ONLY = {"fcntl", "grp", "pwd", "resource", "termios"}


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as first, (tmp_path / "lock").open("ab") as second:
        assert try_lock(first) is Lock.OURS
        assert try_lock(second) is Lock.TAKEN
        first.close()
        assert try_lock(second) is Lock.OURS


@pytest.mark.skipif(sys.platform == "win32", reason="there are named pipes only")
def test_a_pipe_in_place_of_a_lock_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "build.lock")
    held = pytest.raises(InputError, match=r"build\.lock is kept for a lock, and is no file")
    with held, locked(tmp_path, 0, 1, print):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom tai_dpt.io.lock import try_lock\n"
        "stream = open(sys.argv[1], 'ab')\nprint(try_lock(stream).name, flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "OURS\n"
        with (tmp_path / "lock").open("ab") as stream:
            assert try_lock(stream) is Lock.TAKEN
            holder.kill()
            holder.wait()
            assert try_lock(stream) is Lock.OURS


def test_ranks_share_what_a_lone_builder_has_alone(tmp_path: Path) -> None:
    waited: list[str] = []
    inside = threading.Event()

    def build_alone() -> None:
        with locked(tmp_path, 0, 1, lambda: waited.append("alone")) as held:
            assert held
            inside.set()

    lone = threading.Thread(target=build_alone)
    with locked(tmp_path, 0, 2, lambda: waited.append("rank")) as zero:
        with locked(tmp_path, 1, 2, lambda: waited.append("rank")) as one:
            assert zero and one and waited == []
            lone.start()
            assert not inside.wait(0.3)
        assert not inside.wait(0.3), "rank 0 is still in"
    lone.join(timeout=30)
    assert inside.is_set() and waited == ["alone"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EIO, errno.EOPNOTSUPP])
@pytest.mark.parametrize("world", [1, 2])
def test_where_locking_fails_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, world: int
) -> None:
    def fail(handle: int, *, blocking: bool) -> bool:
        raise OSError(number, "no locks")

    monkeypatch.setattr(lock, "lock_descriptor", fail)
    with locked(tmp_path, 0, world, lambda: None) as held:
        assert not held
    with (tmp_path / "lock").open("ab") as stream:
        assert try_lock(stream) is Lock.NONE


@pytest.mark.parametrize("folder", ["tai_dpt", "trainers", "datasets"])
def test_no_module_needs_what_only_posix_has(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not POSIX_ONLY & set(names), path


def test_the_sweep_driver_is_imported_without_posix_signals() -> None:
    code = (
        "import os, signal\nfor name in ('SIGHUP', 'SIGKILL'): delattr(signal, name)\n"
        "for name in ('killpg', 'fchmod', 'sched_getaffinity'): delattr(os, name)\n"
        "import tai_dpt.sweeps.driver as driver\nprint(len(driver.ENDING_SIGNALS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "2\n", done.stderr
