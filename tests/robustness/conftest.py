"""The robustness suite warms one process, forks it for every case, and prints what fell short."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from forked import Ended


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """Import what the commands import, on one thread: a fork keeps no others."""
    import torch
    from PIL import Image

    from tai_dpt.backbones.clip_package import tokenizer
    from tai_dpt.cli.main import COMMANDS

    torch.set_num_threads(1)
    for module, _, _ in COMMANDS.values():
        importlib.import_module(module)
    for module in ("tai_dpt.tagger.fitting", "tai_dpt.trainers.run", "tai_dpt.cli.options"):
        importlib.import_module(module)
    # what they import when it is needed, at half a second and more each
    for module in ("torch._dynamo", "scipy.sparse", "jinja2", "matplotlib.backends.backend_agg"):
        importlib.import_module(module)
    Image.init()
    tokenizer()
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Iterator[Callable[[Ended], None]]:
    """Keeps how a case ended, for the table."""

    def keep(ended: Ended) -> None:
        request.node.user_properties.append(("ended", (ended.fault, ended.code, ended.said)))

    yield keep


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """Keeps how many kills of a test found what they were meant for at work, for the table."""

    def keep(what: str, found: int) -> None:
        request.node.user_properties.append(("kills", (what, found)))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("TAI_DPT_FAULT_SEEDS"):
        _show_kills(terminalreporter)
    failed = terminalreporter.getreports("failed")
    rows = [
        (report.nodeid.split("::")[-1], dict(report.user_properties)["ended"])
        for report in failed
        if "ended" in dict(report.user_properties)
    ]
    if rows:
        terminalreporter.write_line("\ninput | what happened | exit code | its last line")
    for name, (fault, code, said) in rows:
        shown = fault or "WRONG EXIT"
        terminalreporter.write_line(f"{name[:80]} | {shown} | {code} | {said[:160]}")


def _show_kills(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call" and "kills" in dict(report.user_properties):
                what, found = dict(report.user_properties)["kills"]
                counts[what] += Counter({outcome: 1, "kills": found})
    terminalreporter.write_line("\nwhat was killed | kills | ended the same | differed")
    for what, count in counts.items():
        row = (what, count["kills"], count["passed"], count["failed"])
        terminalreporter.write_line(" | ".join(map(str, row)))
