"""``tai-dpt export``: what another service needs to tag without this package."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import click
from safetensors.torch import save

from tai_dpt.cli.command import command
from tai_dpt.cli.options import (
    backbone_file_option,
    load_tagger,
    overwrite_option,
    tagger_argument,
)
from tai_dpt.io.atomic import written_together
from tai_dpt.io.console import say
from tai_dpt.io.output import check_output_folder
from tai_dpt.tagger.exporting import check_onnx, compare_onnx, export_onnx, service_facts

EMBEDDINGS_FILE = "class_embeddings.safetensors"
ABOUT_FILE = "service.json"
ONNX_FILE = "image.onnx"


@command()
@tagger_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder.")
@click.option("--onnx", is_flag=True, help="The image side too, as ONNX (extra 'onnx').")
@overwrite_option
@backbone_file_option
def export(
    tagger: Path, out: Path, onnx: bool, overwrite: bool, backbone: str | None
) -> dict[str, list[Path]]:
    """Write a tagger in forms that need no Python package of this project.

    \b
    Examples:
      tai-dpt export my-tagger --out service/
      tai-dpt export my-tagger --out service/ --onnx

    class_embeddings.safetensors holds the classes' tensors, service.json what is made of them,
    the class names, the preprocessing and how scores become probabilities. image.onnx goes from
    pixels (batch, 3, height, width), preprocessed as service.json says, to 'scores' (batch,
    classes), and to the features 'global' and 'local' for other class embeddings. Where ONNX
    Runtime is installed the two are compared.
    """
    files = [EMBEDDINGS_FILE, ABOUT_FILE, *([ONNX_FILE] if onnx else [])]
    read: list[Path | str] = [tagger / EMBEDDINGS_FILE, *([backbone] if backbone else [])]
    check_output_folder(out, files, overwrite=overwrite, inputs=read)
    if onnx:
        check_onnx()
    loaded = load_tagger(tagger, device="cpu", backbone=backbone)
    tensors = {k: v.cpu().contiguous() for k, v in loaded.embeddings.items()}
    with written_together(out) as folder:
        (folder / EMBEDDINGS_FILE).write_bytes(save(tensors))
        facts = json.dumps(service_facts(loaded), indent=1, ensure_ascii=False)
        (folder / ABOUT_FILE).write_text(f"{facts}\n", encoding="utf-8")
        if onnx:
            export_onnx(loaded, folder / ONNX_FILE)
    say(f"wrote {out / EMBEDDINGS_FILE} and {out / ABOUT_FILE}")
    if onnx:
        path = out / ONNX_FILE
        say(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB")
        if importlib.util.find_spec("onnxruntime") is None:
            say("not compared: ONNX Runtime is not installed (pip install onnxruntime)")
        else:
            worst = compare_onnx(loaded, path)
            say(f"ONNX Runtime's scores differ by {worst:.1e} at most")
    return {"written": [out / name for name in files]}
