"""How commands end: one line and an exit code, for errors, signals and streams that are gone."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import click
import pytest

from tai_dpt.cli.command import command
from tai_dpt.cli.exits import exit_code
from tai_dpt.cli.main import cli, main
from tai_dpt.errors import InputError
from tai_dpt.io.console import answer, lenient_streams
from tai_dpt.toolbox.logger import logging_to

PROGRAM = """
import os, sys, time
from tai_dpt.cli.exits import exit_code
def work():
    {work}
sys.exit(exit_code("prog", work))
"""


def start(work: str, **options) -> subprocess.Popen:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen([sys.executable, "-c", PROGRAM.format(work=work)], **options)


def ended(work: str, **options) -> tuple[int, str]:
    process = start(work, **options)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def raising(error: BaseException) -> int:
    def work() -> None:
        raise error

    return exit_code("prog", work)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("no such\nfile"), 2, "prog: error: no such file"),
        (FileNotFoundError(2, "No such file", "x"), 1, "prog: error: x: No such file; a folder"),
        (PermissionError(13, "Permission denied", "x"), 1, "change its permissions, or choose"),
        (OSError(28, "No space left on device", "a/b"), 1, "a/b: No space left on device; free"),
        (OSError(36, "File name too long", "x" * 300), 1, "choose a shorter name"),
        (MemoryError(), 1, "not enough memory: close other programs, or lower"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), 1, "FEATURES.CACHE"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), 1, "FEATURES.CACHE"),
        (BrokenProcessPool("A process in the pool"), 1, "a process that helped was killed, as"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), 1, "--workers"),
        (KeyboardInterrupt(), 130, "prog: interrupted"),
    ],
)
def test_what_goes_wrong_is_one_line(error, code, line, capsys) -> None:
    assert raising(error) == code
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1


def test_an_unwritable_cache_names_its_variable(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TAI_DPT_CACHE", str(tmp_path))
    raising(PermissionError(13, "Permission denied", str(tmp_path / "store/shard.bin")))
    assert "set TAI_DPT_CACHE to a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["tag", "x", "y", "--top", "z"], "tai-dpt tag: error: Invalid value for '--top': 'z'"),
        (["nothing"], "tai-dpt: error: No such command 'nothing'"),
    ],
)
def test_wrong_usage_is_one_line(arguments, line, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["tai-dpt", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == 1 and "--help says more" in said


def test_a_fault_of_the_project_is_shown() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_with_one_line_and_cleans_up(number, code, tmp_path: Path) -> None:
    work = (
        "from tai_dpt.io.atomic import atomic_write\n"
        f"    with atomic_write({str(tmp_path / 'out')!r}):\n"
        "        print('ready', flush=True); time.sleep(60)"
    )
    process = start(work)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert said.count("\n") == 1 and signal.Signals(number).name in said
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_ends_it_though_it_hangs() -> None:
    work = (
        "try:\n        print('ready', flush=True); time.sleep(60)\n"
        "    finally:\n        print('cleaning', flush=True); time.sleep(60)"
    )
    process = start(work)
    assert process.stdout is not None
    for line in ("ready\n", "cleaning\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(timeout=30) == 130 and time.monotonic() - began < 10


def test_what_a_library_makes_of_a_signal_is_still_one(capsys) -> None:
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            raise ValueError("truncated or corrupt") from None

    assert exit_code("prog", work) == 130
    assert capsys.readouterr().err == "prog: interrupted (SIGINT)\n"


def test_ctrl_c_among_imports_shows_none_of_them(tmp_path: Path) -> None:
    late = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    (tmp_path / "click.py").write_text(late)
    path = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-m", "tai_dpt", "--help"], env=path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "")


def test_an_ignored_signal_stays_ignored() -> None:
    work = "print('ready', flush=True); time.sleep(1)"
    process = start(work, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 0


def test_streams_that_lack_a_letter_or_a_reader() -> None:
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start(r"print('a \u2013 b \udce9')", env=ascii_only, text=False)
    said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "a \u2013 b ".encode() + b"\xe9\n")
    process = start("time.sleep(0.5)\n    print('x' * 100_000)")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # as `head` does
    assert process.wait(timeout=30) == 141 and process.stderr.read() == ""
    code, said_ = ended("print('x')", stdout=open("/dev/full", "w"))  # noqa: SIM115
    assert code == 1 and said_.count("\n") == 1
    assert "standard output: No space left on device" in said_


def test_a_note_that_cannot_be_told_ends_nothing(tmp_path: Path) -> None:
    note = f"print('note', file=sys.stderr, flush=True); open({str(tmp_path / 'x')!r}, 'w')"
    code, _ = ended(note, stderr=open("/dev/full", "w"))  # noqa: SIM115
    assert code == 0 and (tmp_path / "x").exists()


def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    """What a library says on stderr would end in it."""
    work = "[s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)]\n"
    work += "    os._exit(os.open(os.devnull, os.O_RDONLY) < 3)"
    for number in range(3):
        code, said = ended(work, preexec_fn=partial(os.close, number))
        assert (code, said) == (0, "")


def unread(run: click.Command, words: list[str]) -> int:
    """The exit code of a command whose stdout is read by nobody."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as stream, redirect_stdout(stream):
        return exit_code("prog", lambda: run.main(words, "prog", standalone_mode=False))


@pytest.mark.parametrize("words", [["--help"], ["cache", "--help"], ["completion", "bash"]])
def test_no_reader_of_what_is_answered(words) -> None:
    assert unread(cli, words) == 141


def test_what_is_answered_to_nobody_keeps_no_file_from_being_written(tmp_path: Path) -> None:
    @command()
    def answering() -> dict[str, int]:
        answer("one")
        answer("two")
        (tmp_path / "file").touch()
        return {}

    assert unread(answering, []) == 141
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_json_stays_json_whatever_a_stream_lacks(encoding: str, monkeypatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    facts = {"image": "caf\u00e9 \u72d7.jpg", "tags": ["\U0001f436", "a \u2013 b"]}
    with lenient_streams():
        print(json.dumps(facts, ensure_ascii=False), flush=True)
    said = stream.buffer.getvalue()
    assert json.loads(said.decode("utf-8" if encoding == "ascii" else encoding)) == facts
    assert stream.encoding == encoding


@pytest.mark.parametrize("console", ["/dev/full", None])
def test_a_log_outlives_its_console(console, tmp_path: Path, monkeypatch) -> None:
    stream = open(console, "w", buffering=1) if console else None  # noqa: SIM115
    monkeypatch.setattr(sys, "stdout", stream)
    with logging_to(tmp_path):
        print("one")
        print("two", flush=True)
    assert (tmp_path / "log.txt").read_text() == "one\ntwo\n"
