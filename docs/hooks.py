"""Hooks of the documentation site: documents outside ``docs/`` are pages too, and so are the
commands."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import griffe
from click.testing import CliRunner
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

from tai_dpt.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "DATASETS.md",
    "REPRODUCE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/RESULTS.md",
)
_WIDTH = 78  # columns of a code block on a page
_EXAMPLE = re.compile(r"(?m)^>>> .*(?:\n.+)*")  # to the next empty line
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")


@event_priority(100)  # before the plugin reads its options
def on_config(config: Any) -> Any:
    """Let the API reference read the installed package, which holds every wing.

    Raises:
        StopIteration: the project is not installed in this environment.
    """
    installed = next(path for path in sys.path if (Path(path) / "tai_dpt/trainers").is_dir())
    config.plugins["mkdocstrings"].config["handlers"]["python"]["paths"] = [installed]
    return config


class Examples(griffe.Extension):
    """Shows the examples of docstrings as code; to Markdown, ``>>>`` is a quotation."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = obj.docstring.value
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\g<0>\n```", text)


def on_files(files: Files, config: Any) -> Files:
    """Add the documents that do not lie in ``docs/``."""
    for page in PAGES:
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Point links between documents to their pages; a link to a file that is none stays a name."""
    source = page.file.src_uri
    folder = posixpath.dirname(source if source in PAGES else f"docs/{source}")

    def rewritten(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        in_tree = posixpath.normpath(posixpath.join(folder, target))
        on_site = in_tree.removeprefix("docs/")
        if files.get_file_from_path(on_site) is None:
            return text if text.startswith("`") else f"`{text}`"
        return f"[{text}]({posixpath.relpath(on_site, posixpath.dirname(source) or '.')}{anchor})"

    markdown = _LINK.sub(rewritten, markdown)
    return markdown + "".join(helps(cli)) if source == "commands.md" else markdown


def helps(command: click.Command, *path: str) -> Iterator[str]:
    """What ``--help`` prints of the command at ``path``, then of those below it, as Markdown."""
    asked = CliRunner().invoke(
        cli,
        [*path, "--help"],
        prog_name="tai-dpt",
        terminal_width=_WIDTH,
        env={"COLUMNS": str(_WIDTH)},
    )
    yield f"\n## {' '.join(['tai-dpt', *path])}\n\n```text\n{asked.stdout}```\n"
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from helps(found, *path, below)
