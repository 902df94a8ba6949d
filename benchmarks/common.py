"""What the benchmarks share: the model and data they run on, timing side by side, the page."""

from __future__ import annotations

import inspect
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tai_dpt.backbones import Backbone
from tai_dpt.backbones.clip_package import clip_class
from tai_dpt.backbones.linear import linear
from tai_dpt.io.atomic import atomic_write
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.prompts.learner import PromptEncoder, PromptLearner, class_tokens

PAGE = Path(__file__).with_name("RESULTS.md")

COCO_CAPTIONS = 118_287  # one of each train2017 image, as the public code takes them
EPOCHS = 20
BATCH = 512
N_CTX = 16
SOS, EOS = 49406, 49407

# Tokens of 12,360 captions of COCO val2014, SOS and EOS included: how many have so many.
_LENGTHS = {
    **{9: 37, 10: 563, 11: 1793, 12: 2427, 13: 2434, 14: 1885, 15: 1205, 16: 722, 17: 497},
    **{18: 264, 19: 161, 20: 123, 21: 65, 22: 51, 23: 33, 24: 20, 25: 14, 26: 12, 27: 14},
    **{28: 7, 29: 7, 32: 12, 34: 4, 38: 4, 42: 3, 48: 3},
}


@dataclass(frozen=True)
class Size:
    """A CLIP's text encoder. ``RN50``'s for figures, ``TINY`` for a run that takes seconds."""

    embed_dim: int
    width: int
    heads: int
    layers: int

    def clip_model(self) -> Any:
        """Random weights, the same every time; the vision tower is as small as it can be."""
        torch.manual_seed(0)
        vision = self.embed_dim // 32  # a ResNet, whose width follows from the embedding's
        return clip_class()(
            self.embed_dim, 32, (1, 1, 1, 1), max(vision, 2) // 2 * 2, None,
            77, EOS + 1, self.width, self.heads, self.layers,
        )  # fmt: skip

    def backbone(self, dtype: torch.dtype = torch.float32) -> Backbone:
        return Backbone(self.clip_model(), name="random", dtype=dtype)

    @property
    def flops_per_token(self) -> float:
        """Multiplications and additions of the linear layers, forward, for one token."""
        return 2 * self.layers * 12 * self.width**2


RN50 = Size(embed_dim=1024, width=512, heads=8, layers=12)
TINY = Size(embed_dim=64, width=64, heads=1, layers=2)


def class_names(count: int, *, long: bool = False) -> list[str]:
    """VOC's 20 or COCO's 80 names, again and again: a step costs by tokens, not by names.

    Args:
        long: beyond 80 in pairs and threes, of twice the tokens.
    """
    names = list(load_vocabulary("voc2007" if count == 20 else "coco2014").names)
    base = list(names)
    for extra in range(1, count // len(base) + 2):
        shift, second = extra % len(base), extra // len(base)
        names += [
            " ".join([name, base[(i + shift) % len(base)], *base[second : second + bool(second)]])
            if long
            else name
            for i, name in enumerate(base)
        ]
    return names[:count]


def build_learner(backbone: Backbone, count: int, *, long: bool = False) -> PromptLearner:
    """TaI-DPT's two prompts of so many classes."""
    names = class_names(count, long=long)
    encoder = PromptEncoder(
        text=backbone.text,
        classes=class_tokens(names, backbone.tokenize),
        start_id=SOS,
        n_ctx=N_CTX,
    )
    return PromptLearner(
        encoder=encoder,
        names=("global", "local"),
        class_names=names,
        n_ctx=N_CTX,
        generator=torch.Generator().manual_seed(1),
    )


def random_captions(count: int) -> list[list[int]]:
    """Random token ids, of lengths as COCO's captions have them."""
    rng = np.random.default_rng(0)
    shares = np.array(list(_LENGTHS.values())) / sum(_LENGTHS.values())
    lengths = rng.choice(list(_LENGTHS), count, p=shares)
    return [[SOS, *rng.integers(320, 40_000, n - 2).tolist(), EOS] for n in lengths]


def random_labels(samples: int, classes: int) -> Tensor:
    """(samples, classes) uint8; 1 to 4 classes each, as the noun filter finds in COCO's."""
    rng = np.random.default_rng(1)
    labels = torch.zeros(samples, classes, dtype=torch.uint8)
    for row in labels:
        row[rng.choice(classes, min(int(rng.integers(1, 5)), classes), replace=False)] = 1
    return labels


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def side_by_side(functions: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The best time of each, taken in turns after one call to warm up."""
    for function in functions:
        function()
    times = [[seconds(function) for function in functions] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def peak_bytes() -> int:
    """The largest size this process has had in memory.

    On Linux not what getrusage says, which begins with the parent's.
    """
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
        return int(text.split("VmHWM:")[1].split()[0]) * 1024
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_own_process(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """What a benchmark's function returns when a process of its own calls it."""
    module = f"benchmarks.{Path(inspect.getfile(function)).stem}"
    call = f"{function.__name__}(*json.loads(sys.argv[1]))"
    code = f"import json, sys; from {module} import *; print(json.dumps({call}))"
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip() or "out of memory"
        raise RuntimeError(f"{function.__name__}{arguments}: {said}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def matmul_rate(rows: int, columns: int, inner: int, dtype: torch.dtype) -> Callable[[], Any]:
    """A linear layer of that shape, by the library that is fast here, to be timed."""
    x, weight = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    return lambda: linear(x, weight)


def linear_layers(size: Size, rows: int, dtype: torch.dtype) -> Callable[[], Any]:
    """The matrix products of one pass of ``rows`` tokens through the text encoder, alone."""
    width = size.width
    shapes = ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width))
    layers = [matmul_rate(rows, columns, inner, dtype) for columns, inner in shapes]

    def run() -> None:
        for _ in range(size.layers):
            for layer in layers:
                layer()

    return run


def operators(run: Callable[[], Any], *, most: int = 12) -> list[list[object]]:
    """What ``run`` spends its time on: operator, share of CPU time, calls; the rest summed up."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(3):
            run()
    events = sorted(recorded.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    rows = [[e.key, f"{e.self_cpu_time_total / total:.1%}", e.count // 3] for e in events[:most]]
    others = sum(event.self_cpu_time_total for event in events[most:])
    return [
        *rows,
        ["all others", f"{others / total:.1%}", sum(e.count for e in events[most:]) // 3],
    ]


class Section:
    """One part of the results page: collects Markdown, prints it, and keeps it if asked to."""

    def __init__(self, part: str, title: str, *, keep: bool) -> None:
        self.part, self.title, self.keep = part, title, keep
        self.blocks: list[str] = []

    def add(self, text: str) -> None:
        self.blocks.append(text)
        print(text, end="\n\n", flush=True)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.add(tabulate(rows, headers, tablefmt="github", floatfmt=".3g"))

    def save(self) -> None:
        """Put the section into the page in place of its last version."""
        if not self.keep:
            return
        text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        found = dict(re.findall(r"<!-- (\w) -->\n(.*?)<!-- end -->", text, flags=re.DOTALL))
        where = f"{Machine().describe()}, {time.strftime('%Y-%m-%d')}"
        body = "\n\n".join([f"## ({self.part}) {self.title}", f"*{where}*", *self.blocks])
        found[self.part] = f"\n{body}\n\n"
        parts = "\n".join(f"<!-- {part} -->\n{found[part]}<!-- end -->\n" for part in sorted(found))
        with atomic_write(PAGE, "w", encoding="utf-8") as stream:
            stream.write(f"{_INTRODUCTION}\n{parts}")


_INTRODUCTION = """# Benchmarks

The last figures of `bash benchmarks/run.sh [part …]`, which writes this page. Two things that are
compared ran in turns in one process; a ratio carries over to another machine better than a time.
The models have random weights of the sizes named: speed and memory do not depend on their values.
"""


class Machine:
    """What figures depend on."""

    @cached_property
    def processor(self) -> str:
        try:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except OSError:
            return platform.processor() or platform.machine()
        names = re.findall(r"model name\s*: (.*)", text)
        extra = [flag for flag in ("avx512f", "amx_bf16") if re.search(rf"\b{flag}\b", text)]
        return f"{names[0] if names else platform.machine()} ({', '.join(extra) or 'no AVX-512'})"

    def describe(self) -> str:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        return (
            f"{self.processor}, {torch.get_num_threads()} threads, {memory:.0f} GB, "
            f"Python {platform.python_version()}, torch {torch.__version__}"
        )


def command(part: str, title: str) -> Callable[[Callable[[Section, bool], None]], click.Command]:
    """A benchmark's command line: ``--quick`` runs in seconds, at toy sizes, and keeps nothing."""

    def wrap(function: Callable[[Section, bool], None]) -> click.Command:
        @click.command(help=function.__doc__)
        @click.option("--quick", is_flag=True, help="Toy sizes, in seconds; the page stays.")
        def run(quick: bool) -> None:
            section = Section(part, title, keep=not quick)
            function(section, quick)
            section.save()

        return run

    return wrap
