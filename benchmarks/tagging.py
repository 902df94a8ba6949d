"""Photos to tags by ``tai-dpt tag`` itself: what grows with photos, and what processes bring."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.common import EOS, peak_bytes
from benchmarks.images import photos
from tai_dpt.backbones import load_backbone
from tai_dpt.backbones.clip_package import clip_class
from tai_dpt.cli.main import cli
from tai_dpt.tagger.tagger import PromptTagger

# the command, and this process's peak in kB when it ends
_RUN = """
import atexit, runpy
path = "/proc/self/status"
atexit.register(lambda: print("peak", open(path).read().split("VmHWM:")[1].split()[0]))
runpy.run_module("tai_dpt", run_name="__main__")
"""


def make_tagger(folder: Path, *, quick: bool) -> Path:
    """A tagger of 80 classes over RN50 with random weights and a small text tower."""
    torch.manual_seed(0)
    image = (1024, 224, (3, 4, 6, 3), 64, None)
    if quick:
        image = (64, 64, (1, 1, 1, 1), 2, None)
    model = clip_class()(*image, 77, EOS + 1, 64, 1, 1)
    file = folder / "clip.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    backbone = load_backbone(file)
    rows = torch.nn.functional.normalize(torch.randn(80, backbone.embed_dim), dim=-1)
    PromptTagger(
        backbone=backbone,
        class_names=[f"class {number}" for number in range(80)],
        embeddings={"global": rows, "local": rows},
        contexts={},
        backbone_file=file,
    ).save(folder / "tagger")
    return folder / "tagger"


def make_photos(folder: Path, count: int, *, quick: bool) -> None:
    """So many photos, few of which differ: names that lead to the same files."""
    folder.mkdir()
    kept = folder.with_name("different")
    kept.mkdir(exist_ok=True)
    size = (64, 48) if quick else (500, 375)
    files = sorted(kept.iterdir()) or photos(kept, 2 if quick else 50, *size)
    for number in range(count):
        os.link(files[number % len(files)], folder / f"{number:06d}.jpg")


def tag(
    tagger: Path, images: Path, *, processes: int, threads: int, here: bool
) -> tuple[float, list[float]]:
    """Seconds for all of them, and each process's peak in GB.

    Args:
        here: in this process, one after the other: a trial run, quick.
    """
    out = images.with_suffix(f".{processes}-{threads}.csv")
    words = ["tag", str(tagger), str(images), "--out", str(out), "--quiet"]
    shards: list[list[str]] = [[]]
    if processes > 1:
        shards = [["--shard", f"{number}/{processes}"] for number in range(processes)]
    start = time.perf_counter()
    if here:
        for shard in shards:
            cli.main([*words, *shard], standalone_mode=False)
        return time.perf_counter() - start, [peak_bytes() / 1e9]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    call = [sys.executable, "-W", "ignore", "-c", _RUN]
    running = [
        subprocess.Popen([*call, *words, *shard], env=env, stdout=subprocess.PIPE, text=True)
        for shard in shards
    ]
    said = [process.communicate()[0] for process in running]
    took = time.perf_counter() - start
    if any(process.returncode for process in running):
        raise RuntimeError(f"tag ended with {[process.returncode for process in running]}")
    return took, [int(text.split("peak")[-1]) * 1024 / 1e9 for text in said]
