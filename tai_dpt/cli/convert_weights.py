"""``tai-dpt convert-weights``: TorchScript, or any other weight file, as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import command
from tai_dpt.io.console import say
from tai_dpt.io.output import check_output


@command("convert-weights")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def convert_weights(source: Path, target: Path, overwrite: bool) -> dict[str, Any]:
    """Write the weights in IN as OUT, a safetensors file, which is data and nothing else.

    \b
    Example:
      tai-dpt convert-weights my-clip.pt my-clip.safetensors

    TorchScript is a program: opening it runs what its maker put there. Elsewhere only the files
    that OpenAI published are opened; this command opens any, so use it for a file whose maker
    you trust.
    """
    target = check_output(target, overwrite=overwrite, inputs=[source], option="OUT")
    from tai_dpt.backbones.weights import convert_weights as convert

    count = convert(source, target)
    say(f"wrote {target}, {count:,} tensors")
    return {"source": source, "written": target, "tensors": count}
