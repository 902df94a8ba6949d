"""A tagger on disk: ``tagger.json``, prompts, class embeddings and, where needed, the backbone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

import tai_dpt
from tai_dpt.backbones import Backbone, backbone_names, load_backbone
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write, file_sha256, temporary_name
from tai_dpt.scoring.calibration import Calibration
from tai_dpt.scoring.scores import Scoring

ABOUT_FILE = "tagger.json"
PROMPTS_FILE = "prompts.safetensors"
EMBEDDINGS_FILE = "class_embeddings.safetensors"
FORMAT = "tai-dpt tagger"
# raise it when an older version could not read the folder, or would read it wrongly
FORMAT_VERSION = 1

_KEYS = ("class_names", "backbone", "scoring", "preprocessing", "calibration", "about", "files")


@dataclass(frozen=True)
class TaggerParts:
    """What a tagger's folder holds; attributes as ``PromptTagger`` takes them."""

    backbone: Backbone
    class_names: tuple[str, ...]
    embeddings: Mapping[str, Tensor]  # (C, D) each
    contexts: Mapping[str, Tensor]
    scoring: Scoring
    preprocessing: Preprocessing
    calibration: Calibration | None
    provenance: Mapping[str, Any]
    backbone_file: str | os.PathLike[str] | None


def save(
    tagger: TaggerParts,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    include_backbone: bool | None = None,
) -> None:
    """See ``PromptTagger.save``. The folder is built beside and renamed when it is whole."""
    folder = Path(folder)
    check_free(folder, overwrite=overwrite)
    published = tagger.backbone.name in backbone_names() and tagger.backbone_file is None
    include = not published if include_backbone is None else include_backbone
    if include and tagger.backbone_file is None:
        raise InputError(
            f"the file that the backbone {tagger.backbone.name} came from is not known, so it "
            "cannot be copied; leave it out (include_backbone=False)"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = temporary_name(folder)
    building.mkdir()
    try:
        names = [PROMPTS_FILE, EMBEDDINGS_FILE]
        _write_tensors(building / PROMPTS_FILE, tagger.contexts, prefix="ctx_")
        class_names = json.dumps(list(tagger.class_names), ensure_ascii=False)
        _write_tensors(
            building / EMBEDDINGS_FILE, tagger.embeddings, metadata={"class_names": class_names}
        )
        backbone: dict[str, Any] = {
            "name": tagger.backbone.name,
            "weights_sha256": tagger.backbone.weights_hash,
            "embed_dim": tagger.backbone.embed_dim,
            "published": published,
        }
        if include:
            source = Path(tagger.backbone_file or "")
            backbone["file"] = f"backbone{source.suffix}"
            shutil.copyfile(source, building / backbone["file"])
            names.append(backbone["file"])
        elif not published:
            backbone["path"] = os.path.abspath(tagger.backbone_file or "")
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "written_by": f"tai_dpt {tai_dpt.__version__}",
            "class_names": list(tagger.class_names),
            "backbone": backbone,
            "scoring": asdict(tagger.scoring),
            "preprocessing": tagger.preprocessing.as_dict(),
            "calibration": tagger.calibration and tagger.calibration.as_dict(),
            "about": dict(tagger.provenance),
            "files": {name: file_sha256(building / name) for name in names},
        }
        _write_about(building, content)
        _put_in_place(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def check_free(folder: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Complain, before an hour of work, about a folder that ``save`` would refuse."""
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / ABOUT_FILE).is_file():
        raise InputError(f"{folder} exists and is not a tagger; choose another name for it")
    if not overwrite:
        raise InputError(
            f"{folder} holds a tagger already; choose another name, or say that it may be "
            "overwritten (--overwrite)"
        )


def write_calibration(folder: str | os.PathLike[str], calibration: Calibration) -> None:
    """Replace the calibration of the tagger in ``folder``; nothing else changes."""
    content = _read_about(Path(folder))
    content["calibration"] = calibration.as_dict()
    _write_about(Path(folder), content)


def load(
    folder: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    backbone: Backbone | str | os.PathLike[str] | None = None,
) -> TaggerParts:
    """What the folder holds; errors as in ``PromptTagger.load``."""
    folder = Path(folder)
    content = _read_about(folder)
    for name, expected in content["files"].items():
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not whole: {name} is missing; copy the folder again")
        if file_sha256(folder / name) != expected:
            raise InputError(
                f"{folder / name} is damaged or was changed (its checksum differs from the one in "
                f"{ABOUT_FILE}); copy the folder again"
            )
    asked = content["backbone"]
    loaded, file = _backbone(folder, asked, device, backbone)
    if loaded.weights_hash != asked["weights_sha256"]:
        raise InputError(
            f"{folder}: its prompts were learned for the backbone {asked['name']} with weights "
            f"{asked['weights_sha256'][:12]}…, and these are {loaded.weights_hash[:12]}…: prompts "
            "work with their own backbone only"
        )
    loaded.name = asked["name"]
    calibration = content["calibration"]
    contexts = _read(folder / PROMPTS_FILE)
    return TaggerParts(
        backbone=loaded,
        class_names=tuple(content["class_names"]),
        embeddings=_read(folder / EMBEDDINGS_FILE),
        contexts={name.removeprefix("ctx_"): value for name, value in contexts.items()},
        scoring=Scoring(**content["scoring"]),
        preprocessing=Preprocessing.from_dict(content["preprocessing"]),
        calibration=calibration and Calibration.from_dict(calibration),
        provenance=content["about"],
        backbone_file=file,
    )


def _backbone(
    folder: Path,
    asked: dict[str, Any],
    device: torch.device | str,
    given: Backbone | str | os.PathLike[str] | None,
) -> tuple[Backbone, Path | None]:
    """The backbone, and its file where it is none of the published."""
    if isinstance(given, Backbone):
        return given, None
    if given is not None:
        published = str(given) in backbone_names()
        return load_backbone(given, device=device), None if published else Path(given)
    if "file" in asked:
        file = folder / asked["file"]
        return load_backbone(file, device=device), file
    if asked["published"]:
        return load_backbone(asked["name"], device=device), None
    path = Path(asked["path"])
    if not path.is_file():
        raise InputError(
            f"{folder} does not contain its backbone, and {path} is not there; say where the "
            f"weights of {asked['name']} are (--backbone FILE)"
        )
    return load_backbone(path, device=device), path


def _read_about(folder: Path) -> dict[str, Any]:
    path = folder / ABOUT_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = "has no" if folder.is_dir() else "is no folder, so it has no"
        raise InputError(
            f"{folder} {what} {ABOUT_FILE}: not a tagger; 'tai-dpt fit' makes one"
        ) from None
    except NotADirectoryError:
        raise InputError(f"{folder} is a file; a tagger is a folder ('tai-dpt fit')") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); copy the folder again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a tagger of tai-dpt")
    if content.get("format_version", 0) > FORMAT_VERSION:
        raise InputError(
            f"{folder} was written by {content.get('written_by', 'a newer version')} (format "
            f"{content['format_version']}), and this is tai_dpt {tai_dpt.__version__}, which "
            f"reads up to format {FORMAT_VERSION}: update it (pip install --upgrade tai-dpt)"
        )
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise InputError(f"{path} is damaged: it lacks {', '.join(missing)}; copy the folder again")
    return content


def _write_about(folder: Path, content: dict[str, Any]) -> None:
    with atomic_write(folder / ABOUT_FILE, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, ensure_ascii=False)
        stream.write("\n")


def _put_in_place(building: Path, folder: Path) -> None:
    """Rename ``building`` to ``folder``; what was there is moved aside first, then removed."""
    if not folder.exists():
        building.rename(folder)
        return
    aside = building.with_suffix(".old")
    folder.rename(aside)
    try:
        building.rename(folder)
    except OSError:
        with suppress(OSError):
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    prefix: str = "",
    metadata: dict[str, str] | None = None,
) -> None:
    """As safetensors, with the permissions of any new file (``save_file`` hides it: 0600)."""
    plain = {f"{prefix}{name}": value.cpu().contiguous() for name, value in tensors.items()}
    with atomic_write(path) as stream:
        stream.write(serialized(plain, metadata=metadata))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); copy the folder again") from None
