"""``tai-dpt app``: a tagger's page in the browser."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click

from tai_dpt.cli.command import command
from tai_dpt.cli.options import tagger_argument, tagger_options
from tai_dpt.errors import Stopped
from tai_dpt.io.console import JSON, answer, asked_for, say
from tai_dpt.io.output import check_output_folder

_HERE = ("127.0.0.1", "localhost", "::1")


@command()
@tagger_argument
@click.option(
    "--labels",
    type=click.Path(path_type=Path, file_okay=False),
    default="corrections",
    help="The folder for corrected labels and their images.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=7860, help="0: any free one.")
@click.option("--host", default=_HERE[0], help="Another one lets other computers in.")
@tagger_options
def app(tagger: Path, labels: Path, port: int, host: str, open_tagger: Any) -> dict[str, Any]:
    """Serve a page on this computer: drop photos, see labels, correct them.

    \b
    Examples:
      tai-dpt app my-tagger
      tai-dpt app my-tagger --labels corrections --port 8000
      tai-dpt calibrate my-tagger --labelled corrections/labels.jsonl --per-class

    Labels with probabilities and a threshold to move; a heat map of each label; the words of a
    caption. What you mark as right, wrong or missing is saved as a label file that 'calibrate'
    takes. Nothing leaves this computer, no internet is needed. Ctrl-C ends it.
    """
    from tai_dpt.app.corrections import Corrections  # here, so that --help does not wait for torch
    from tai_dpt.app.desk import Desk
    from tai_dpt.app.server import PageServer

    if not host.strip():  # as a shell's variable that is not set is; to a socket it means all
        raise click.UsageError("--host is empty: give an address, or leave it out")
    check_output_folder(labels, (), overwrite=False, option="--labels")
    loaded = open_tagger(tagger)
    corrections = Corrections(labels, loaded.vocabulary)
    with PageServer(Desk(loaded, corrections), host=host, port=port) as server:
        if host not in _HERE:
            say(f"warning: --host {host} lets every computer that reaches this one use the page")
        tell = say if asked_for(JSON) else answer  # the document comes at the end
        tell(f"open {server.url} in a browser; Ctrl-C ends it")
        try:
            server.serve_forever()
        except Stopped as stop:
            if stop.number != signal.SIGINT:  # Ctrl-C is how a page ends
                raise
    if len(corrections):
        tell(f"Next: tai-dpt calibrate {tagger} --labelled {corrections.file} --per-class")
    return {"url": server.url, "corrected": len(corrections)}
