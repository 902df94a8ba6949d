"""(l) How long it takes to begin: imports against torch's own, and one photo tagged."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.common import Section, command
from tai_dpt.backbones import load_backbone
from tai_dpt.tagger.tagger import PromptTagger

_CLIP = Path(__file__).parents[1] / "data/emoji_scenes/clip.safetensors"
_PEAK = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # in kB


def _began(*words: str) -> tuple[float, str]:
    """Seconds that a new interpreter takes, and what it prints."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


@command("l", "Starting up")
def main(section: Section, quick: bool) -> None:
    """New interpreters in turns, the best time of each."""
    imports: dict[str, list[tuple[float, float]]] = {
        "import torch": [],
        "from tai_dpt import Tagger": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        photo, place = Path(folder) / "photo.png", Path(folder) / "tagger"
        Image.effect_noise((500, 375), 60).convert("RGB").save(photo)
        backbone = load_backbone(_CLIP)
        rows = torch.nn.functional.normalize(torch.ones(2, backbone.embed_dim), dim=-1)
        PromptTagger(
            backbone=backbone,
            class_names=["a", "b"],
            embeddings={"global": rows, "local": rows},
            contexts={},
            backbone_file=_CLIP,
        ).save(place)
        tagged = []
        for _ in range(1 if quick else 4):
            for line, found in imports.items():
                taken, peak = _began("-c", f"{line}\n{_PEAK}")
                found.append((taken, int(peak)))
            words = ("-m", "tai_dpt", "tag", str(place), str(photo), "--top", "1", "--quiet")
            tagged.append(_began(*words)[0])
    best = {
        line: [min(column) for column in zip(*found, strict=True)]
        for line, found in imports.items()
    }
    torch_seconds, torch_peak = best["import torch"]
    section.table(
        ["", "seconds", "by torch's", "peak, MB", "by torch's"],
        [
            [name, took, f"{took / torch_seconds:.2f} ×", peak / 1e3, f"{peak / torch_peak:.2f} ×"]
            for name, (took, peak) in best.items()
        ],
    )
    section.add(f"`tai-dpt tag` of one photo with the CLIP that ships: {min(tagged):.2f} s.")


if __name__ == "__main__":
    main()
