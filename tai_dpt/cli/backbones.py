"""``tai-dpt backbones``: what can be asked for, what is here, and what one of them can do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from tai_dpt.cli.command import command
from tai_dpt.cli.names import BACKBONE
from tai_dpt.io.console import answer


@command()
@click.argument("name", type=BACKBONE, required=False)
@click.option("--dense", default=None, help="With a NAME: as MODEL.BACKBONE.DENSE.")
def backbones(name: str | None, dense: str | None) -> Any:
    """Which backbones can be asked for and which are on this machine; all about NAME.

    \b
    Examples:
      tai-dpt backbones
      tai-dpt backbones ViT-B/16

    NAME is what --backbone takes: a published name, a weight file, a library's model, or
    'emoji_scenes', the tiny one that ships. It is loaded, and fetched where it is not here yet.
    """
    from tai_dpt.errors import InputError

    if name is None:
        if dense is not None:
            raise InputError("--dense needs the NAME of a backbone")
        return _list()
    from tai_dpt.backbones import load_backbone
    from tai_dpt.backbones.catalogue import described
    from tai_dpt.io.shipped import backbone_file

    about = described(load_backbone(backbone_file(name), dense=dense))
    width = max(map(len, about))
    for key, value in about.items():
        answer(f"{key:<{width}}  {value}")
    return about


def _list() -> dict[str, Any]:
    from tabulate import tabulate

    from tai_dpt.backbones.catalogue import LIBRARIES, in_hub_cache, installed, published
    from tai_dpt.backbones.download import default_folder
    from tai_dpt.backbones.hub import hub_folder
    from tai_dpt.io.shipped import SHIPPED

    entries = [*published(), *in_hub_cache()]
    rows = [
        [
            entry.name,
            str(entry.file or "not here"),
            f"{entry.file.stat().st_size / 1e6:,.0f} MB" if entry.file else "",
            entry.sha256[:12],
            entry.licence,
        ]
        for entry in entries
    ]
    answer(tabulate(rows, ["name", "file", "size", "SHA-256", "licence"], "simple"))
    answer(f"\nOpenAI's are fetched into {default_folder()} (TAI_DPT_CACHE)")
    answer(f"the hub's cache is {hub_folder()} (HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE)")
    for names, (package, extra) in LIBRARIES.items():
        found = installed(package)
        state = f"{package} {found}" if found else f"pip install 'tai-dpt[{extra}]'"
        answer(f"{names}: {state}")
    answer("any weight file in OpenAI's layout: its path")
    answer(f"{SHIPPED}: a tiny one that ships, for trying things out")
    return {
        "backbones": [asdict(entry) for entry in entries],
        "libraries": {names: installed(package) for names, (package, _) in LIBRARIES.items()},
        "ships": SHIPPED,
    }
