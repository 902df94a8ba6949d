"""Files are whole or not there, on every system."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from tai_dpt.io.atomic import atomic_write, written_together

POSIX_ONLY = ("fchmod", "umask", "fchown", "geteuid", "getuid")


@pytest.mark.parametrize(("mode", "content"), [("wb", b"\x00\xff"), ("w", "naïve\n")])
def test_written_with_what_every_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, content: bytes | str
) -> None:
    for name in POSIX_ONLY:
        monkeypatch.delattr(os, name, raising=False)
    options = {} if mode == "wb" else {"encoding": "utf-8", "newline": "\n"}
    path = tmp_path / "new folder" / "file.txt"
    for _ in range(2):  # new, then over the old one
        with atomic_write(path, mode, **options) as stream:
            stream.write(content)
    written = path.read_bytes()
    assert written == (content if isinstance(content, bytes) else content.encode())
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path, "w") as stream:
        stream.write("new")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_several_files_come_together_though_a_signal_comes(tmp_path: Path, monkeypatch) -> None:
    real = os.replace

    def replace(*names) -> None:
        real(*names)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt), written_together(tmp_path / "out") as folder:
        for name in ("a", "b", "c"):
            (folder / name).touch()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b", "c"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "file") as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
