"""Taggers on a model hub, by ``huggingface_hub``: its tokens, cache and switches hold."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import tai_dpt
from tai_dpt.backbones.hub import one_line
from tai_dpt.errors import InputError
from tai_dpt.io.reading import read_json
from tai_dpt.tagger.card import CARD_FILE, write_card
from tai_dpt.tagger.folder import ABOUT_FILE

# what a tagger consists of; nothing that could run is sent or fetched
_FILES = ["*.json", "*.safetensors", "README.md"]
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def push(
    folder: Path, repo: str, *, private: bool | None, token: str | None, message: str | None
) -> str:
    """Upload a tagger's folder to ``repo``, which is made where it is not there.

    What people wrote in the card that is there stays.

    Returns: the address of the commit.
    """
    hub = _hub()
    api = hub.HfApi(token=token, library_name="tai-dpt", library_version=tai_dpt.__version__)
    with _one_line_errors(repo, f"upload to {repo}", token):
        api.create_repo(repo, private=private, exist_ok=True)
        with suppress(hub.errors.RemoteEntryNotFoundError):
            _copy_card(Path(api.hf_hub_download(repo, CARD_FILE)), folder, repo)
            write_card(folder, read_json(folder / ABOUT_FILE))
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=_FILES,
            commit_message=message or "A tagger of tai-dpt",
        )
    return str(commit.commit_url)


def pull(repo: str, *, revision: str | None, token: str | None) -> Path:
    """The folder of a tagger of the hub, fetched where the cache has not got the newest.

    Without a network the cache's newest is taken.
    """
    hub = _hub()
    with _one_line_errors(repo, f"fetch {repo}, which is no folder here", token):
        folder = hub.snapshot_download(
            repo,
            revision=revision,
            token=token,
            allow_patterns=_FILES,
            ignore_patterns=["*/*"],  # below folders there is nothing of a tagger
            library_name="tai-dpt",
            library_version=tai_dpt.__version__,
        )
    return Path(folder)


def _copy_card(card: Path, folder: Path, repo: str) -> None:
    try:
        card.read_bytes().decode()
    except UnicodeDecodeError:
        raise InputError(
            f"{CARD_FILE} of {repo} is not UTF-8, which the hub asks for: write it anew there"
        ) from None
    shutil.copyfile(card, folder / CARD_FILE)


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise InputError(
            "a tagger of a hub needs huggingface_hub: pip install 'tai-dpt[hub]'"
        ) from None


@contextmanager
def _one_line_errors(repo: str, what: str, token: str | None) -> Iterator[None]:
    if not _NAME.fullmatch(repo):
        raise InputError(f"{repo!r} is neither a folder nor a hub's 'user/name'")
    if isinstance(token, str) and not re.fullmatch(r"[!-~]+", token):  # a message would show it
        raise InputError("the token is empty, or has blanks or a line's end in it: strip() those")
    try:
        yield
    except Exception as error:  # of HTTP, of the cache, of the name: the library has many
        if isinstance(error, MemoryError | InputError):
            raise
        raise InputError(
            f"cannot {what}: {one_line(error)}; is the name right, do you have access ('hf auth "
            "login', HF_TOKEN), is there a network?"
        ) from error
