"""Runs a sweep's runs, several at once, so that it can be stopped and started at will."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any

from tai_dpt.errors import ENDING_SIGNALS, InputError, whole_number
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.cores import usable_cores
from tai_dpt.io.lock import Lock, try_lock
from tai_dpt.scoring.metrics import percent
from tai_dpt.scoring.results import RESULTS_FILE, whole_results
from tai_dpt.sweeps.runs import Run

OPTIONS_FILE = "options.txt"  # the KEY VALUE options a run was started with
CONSOLE_FILE = "console.txt"  # what it printed, tracebacks included
LOCK_FILE = ".lock"  # held as long as the run's process lives

_POLL_SECONDS = 0.1
_WAIT_SECONDS = 2.0  # where all that is left runs elsewhere
_GRACE_SECONDS = 15.0  # from SIGTERM to SIGKILL

_POSIX = os.name == "posix"

NEW, UNFINISHED, FINISHED, STALE, OTHER = "run", "resume", "skip", "run again", "conflict"


@dataclass
class Outcome:
    """How a sweep ended."""

    finished: int = 0
    skipped: int = 0
    failed: dict[Run, str] = field(default_factory=dict)  # and why


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP arrived; ``number`` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def slurm_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """(index from 0, number of shares) of this task of a SLURM array; (0, 1) outside of one.

    Raises InputError for an array with gaps, whose missing shares nobody would run.
    """
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return 0, 1
    task = whole_number(environment, "SLURM_ARRAY_TASK_ID", 0)
    first = whole_number(environment, "SLURM_ARRAY_TASK_MIN", 0)
    last = whole_number(environment, "SLURM_ARRAY_TASK_MAX", task)
    count = whole_number(environment, "SLURM_ARRAY_TASK_COUNT", last - first + 1)
    if last - first + 1 != count:
        raise InputError(
            f"the SLURM array has {count} tasks numbered {first} to {last}: use consecutive ids "
            f"(--array=1-{count}); finished runs are skipped, so submit the whole array again"
        )
    return task - first, count


def runs_of_task(runs: Sequence[Run], index: int, count: int) -> list[Run]:
    """The runs of one of ``count`` shares, each with what it needs, in their order.

    Runs that nothing needs are dealt out in turn; a run that several shares need is in all of
    them, and made by the first that gets to it.
    """
    needed = {need for run in runs for need in run.needs}
    chosen = set([run for run in runs if run not in needed][index::count])
    for run in reversed(runs):
        if run in chosen:
            chosen.update(run.needs)
    return [run for run in runs if run in chosen]


def options_text(run: Run, extra: Sequence[str] = ()) -> str:
    """What tells two runs of one folder apart: a ``KEY VALUE`` line for every option, and the
    words of a command that makes it of other runs."""
    names = {str(need.folder): str(need) for need in run.needs}
    parts = [names.get(part, part) for part in (*run.options, *extra)]
    lines = [f"{key} {value}" for key, value in zip(parts[::2], parts[1::2], strict=True)]
    if run.words:
        lines.append(" ".join([run.command, *(names.get(word, word) for word in run.words)]))
    return "".join(f"{line}\n" for line in lines)


def state_of(run: Run, extra: Sequence[str] = ()) -> tuple[str, str]:
    """What is to be done about a run, and why where that is not plain."""
    folder, wanted = run.folder, options_text(run, extra)
    finished, why = True, ""
    try:
        whole_results(folder / RESULTS_FILE)
    except InputError as error:
        finished, why = False, str(error) if (folder / RESULTS_FILE).exists() else "no results yet"
    begun = finished or any(folder.glob("*/checkpoint"))
    with suppress(FileNotFoundError):
        present = (folder / OPTIONS_FILE).read_text(encoding="utf-8")
        if begun and present != wanted:
            there, here = _difference(present, wanted)
            return OTHER, (
                f"{folder} holds a run with other options ({there}; asked for: {here}): move it "
                "away or choose another OUT"
            )
    if not finished:
        return (UNFINISHED, why) if begun or any(folder.glob("log.txt*")) else (NEW, "")
    age = (folder / RESULTS_FILE).stat().st_mtime
    for need in run.needs:
        with suppress(FileNotFoundError):
            if (need.folder / RESULTS_FILE).stat().st_mtime > age:
                return STALE, f"{need} is newer"
    return FINISHED, ""


def run_all(
    runs: Sequence[Run],
    *,
    command: Callable[[Run], list[str]],
    extra: Sequence[str] = (),
    jobs: int = 1,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> Outcome:
    """Run what is not finished, at most ``jobs`` at once, each after what it needs.

    A run that fails does not stop the others, only those which need it. A run that another
    process is at is waited for. On SIGINT, SIGTERM or SIGHUP the running ones are ended and
    ``Interrupted`` is raised: the same call goes on from there.

    Args:
        runs: a run comes after those it needs.
        command: the command line of a run.
        extra: KEY VALUE options that ``command`` adds to every run's own.
        jobs: how many at once.
        say: gets a line for everything that happens.
    """
    with _signals():
        return _Sweep(runs, command=command, extra=extra, jobs=jobs, say=say).run()


@dataclass
class _Process:
    popen: subprocess.Popen[bytes]
    lock: IO[bytes]
    started: float
    slot: int


class _Sweep:
    def __init__(
        self,
        runs: Sequence[Run],
        *,
        command: Callable[[Run], list[str]],
        extra: Sequence[str],
        jobs: int,
        say: Callable[[str], None],
    ) -> None:
        runs_known = set(runs)
        assert all(need in runs_known for run in runs for need in run.needs)
        self.pending = list(runs)
        self.total = len(runs)
        self.command, self.extra, self.jobs, self.say = command, extra, jobs, say
        self.done: set[Run] = set()
        self.running: dict[Run, _Process] = {}
        self.outcome = Outcome()
        self.elsewhere: set[Run] = set()

    def run(self) -> Outcome:
        try:
            while self.pending or self.running:
                self._start_some()
                for run in list(self.running):
                    if self.running[run].popen.poll() is not None:
                        self._collect(run)
                waiting = self.pending and not self.running and self.elsewhere
                time.sleep(_WAIT_SECONDS if waiting else _POLL_SECONDS if self.running else 0)
        except BaseException:  # a signal, or a folder that cannot be written
            self._end_running()
            raise
        return self.outcome

    def _start_some(self) -> None:
        for run in list(self.pending):
            if len(self.running) == self.jobs:
                return
            broken = [need for need in run.needs if need in self.outcome.failed]
            if broken:
                self._fail(run, f"not started, as it needs {broken[0]}, which failed")
            elif all(need in self.done for need in run.needs):
                self._start(run)

    def _start(self, run: Run) -> None:
        state, why = state_of(run, self.extra)
        if state == FINISHED:
            self._finish(run, "skipped", "finished before")
            self.outcome.skipped += 1
            return
        if state == OTHER:
            self._fail(run, why)
            return
        run.folder.mkdir(parents=True, exist_ok=True)
        lock = (run.folder / LOCK_FILE).open("ab")
        if try_lock(lock) is Lock.TAKEN:
            lock.close()
            if run not in self.elsewhere:
                self.elsewhere.add(run)
                self.say(f"{self._count()} waiting  {run}: another process is at it")
            return
        self.elsewhere.discard(run)
        state, _ = state_of(run, self.extra)  # it may have ended since
        if state == FINISHED:
            lock.close()
            self._finish(run, "skipped", "finished elsewhere")
            self.outcome.skipped += 1
            return
        self._launch(run, lock)
        self.say(f"{self._count()} {'resume ' if state == UNFINISHED else 'start  '}  {run}")

    def _launch(self, run: Run, lock: IO[bytes]) -> None:
        (run.folder / RESULTS_FILE).unlink(missing_ok=True)  # broken or stale
        with atomic_write(run.folder / OPTIONS_FILE, "w", encoding="utf-8") as stream:
            stream.write(options_text(run, self.extra))
        command = self.command(run)
        taken = {process.slot for process in self.running.values()}
        slot = next(i for i in range(self.jobs) if i not in taken)
        with (run.folder / CONSOLE_FILE).open("ab") as console:
            console.write(f"{datetime.now():%F %T} $ {shlex.join(command)}\n".encode())
            console.flush()
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=_environment(os.environ, slot=slot, jobs=self.jobs),
                **_own_group(lock),
            )
        self.pending.remove(run)
        self.running[run] = _Process(popen, lock, time.monotonic(), slot)

    def _collect(self, run: Run) -> None:
        process = self.running.pop(run)
        process.lock.close()
        self.pending.insert(0, run)  # _finish and _fail take it out
        try:
            results = whole_results(run.folder / RESULTS_FILE)
        except InputError as error:
            results, why = {}, str(error)
        if code := process.popen.returncode:
            said = _last_line(run.folder / CONSOLE_FILE)
            self._fail(run, f"{_exit(code)}: {said}; see {run.folder / CONSOLE_FILE}")
        elif not results:
            self._fail(run, f"it ended well, but {why}; see {run.folder / CONSOLE_FILE}")
        else:
            took = timedelta(seconds=round(time.monotonic() - process.started))
            means = {kind: m["mAP"] for kind, m in sorted(results["metrics"].items())}
            shown = ", ".join(f"{kind} {percent(v)}" for kind, v in means.items())
            self._finish(run, "finished", f"in {took}, mAP {shown}")
            self.outcome.finished += 1

    def _finish(self, run: Run, how: str, note: str) -> None:
        self.pending.remove(run)
        self.elsewhere.discard(run)
        self.done.add(run)
        self.say(f"{self._count()} {how:8} {run}: {note}")

    def _fail(self, run: Run, why: str) -> None:
        self.pending.remove(run)
        self.outcome.failed[run] = why
        self.say(f"{self._count()} FAILED   {run}: {why}")

    def _count(self) -> str:
        width = len(str(self.total))
        return f"[{len(self.done) + len(self.outcome.failed):{width}}/{self.total}]"

    def _end_running(self) -> None:
        for number in ENDING_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for process in self.running.values():
            _end(process.popen)
        deadline = time.monotonic() + _GRACE_SECONDS
        for run, process in self.running.items():
            try:
                process.popen.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _end(process.popen, at_once=True)
                process.popen.wait()
            process.lock.close()
            self.say(f"{self._count()} stopped  {run}")


def _difference(present: str, wanted: str) -> tuple[str, str]:
    there, here = present.splitlines(), wanted.splitlines()
    only = [[x for x in a if x not in b] for a, b in ((there, here), (here, there))]
    return ", ".join(only[0]) or "the usual ones", ", ".join(only[1]) or "the usual ones"


def _environment(base: Mapping[str, str], *, slot: int, jobs: int) -> dict[str, str]:
    """Shares the cores, and the GPUs of CUDA_VISIBLE_DEVICES, among the runs at once."""
    environment = dict(base)
    if jobs == 1:
        return environment
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // jobs)))
    devices = [d for d in base.get("CUDA_VISIBLE_DEVICES", "").split(",") if d.strip()]
    if len(devices) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return environment


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that end a sweep into ``Interrupted``, for the length of the block."""

    def interrupt(number: int, _: Any) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _own_group(lock: IO[bytes]) -> dict[str, Any]:
    """How a run is started: as a group of its own, so that ending it ends its workers, and with
    the lock, which it then holds even if this process is killed."""
    if not _POSIX:
        return {}
    return {"start_new_session": True, "pass_fds": [lock.fileno()]}


def _end(popen: subprocess.Popen[bytes], *, at_once: bool = False) -> None:
    if not _POSIX:
        popen.terminate()  # which is at once there
        return
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL if at_once else signal.SIGTERM)


def _exit(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"


def _last_line(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 4096))
        lines = stream.read().decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
