"""A tagger on disk: ``tagger.json``, tensors, its card and, where needed, the backbone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import save as serialized
from torch import Tensor

import tai_dpt
from tai_dpt.backbones import FIRST_DENSE, Backbone, has_name, load_backbone
from tai_dpt.backbones.catalogue import extra_of, shared_name
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.backbones.weights import convert_weights
from tai_dpt.device import choose_device
from tai_dpt.errors import InputError
from tai_dpt.io.arrays import ArraySpec, check_arrays, read_safetensors
from tai_dpt.io.atomic import atomic_write, file_sha256, temporary_name, undisturbed
from tai_dpt.io.json_text import json_document
from tai_dpt.io.output import check_output_folder, check_room
from tai_dpt.io.reading import Count, Names, OpenRecord, Record, Sha256, checked, read_json
from tai_dpt.io.shipped import backbone_file
from tai_dpt.labels.vocabulary import ENGLISH
from tai_dpt.scoring.calibration import Calibration
from tai_dpt.scoring.methods import Method, Prompts
from tai_dpt.scoring.scores import Scoring
from tai_dpt.tagger.card import CARD_FILE, write_card

ABOUT_FILE = "tagger.json"
PROMPTS_FILE = "prompts.safetensors"
EMBEDDINGS_FILE = "class_embeddings.safetensors"
FORMAT = "tai-dpt tagger"
# raise it when an older version could not read the folder, or would read it wrongly
FORMAT_VERSION = 2
_FIRST_VERSION = 1  # of a folder that every version reads rightly

_COPY = "copy the folder again"

_FileName = Annotated[str, Field(pattern=r"^[^/\\\s.][^/\\]*$")]  # in the folder, not above it


class _BackboneRecord(Record):
    name: str
    weights_sha256: Sha256
    embed_dim: Annotated[int, Field(ge=1)]
    published: bool
    file: _FileName | None = None  # in the folder
    path: str | None = None  # elsewhere
    dense: str | None = FIRST_DENSE


class _AboutRecord(OpenRecord):
    """What the tagger tells of its making; these are read again by ``calibrate``."""

    language: str = ENGLISH
    synonyms: tuple[tuple[str, ...], ...] = ()
    calibration_on_captions: dict[str, Any] | None = None


class _TaggerRecord(Record):
    """``tagger.json``."""

    format: str
    format_version: Count
    written_by: str
    class_names: Names
    backbone: _BackboneRecord
    method: Method = Prompts()
    scoring: Scoring
    preprocessing: dict[str, Any]
    calibration: dict[str, Any] | None
    about: _AboutRecord
    files: dict[_FileName, Sha256]


@dataclass(frozen=True)
class TaggerParts:
    """What a tagger's folder holds; attributes as ``PromptTagger`` takes them."""

    backbone: Backbone
    class_names: tuple[str, ...]
    embeddings: Mapping[str, Tensor]  # as ``method.shapes`` says
    contexts: Mapping[str, Tensor]
    method: Method
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
    check_free(folder, overwrite=overwrite)
    folder = Path(folder).resolve()  # a link stays one
    published = has_name(tagger.backbone.name) and tagger.backbone_file is None
    include = includes_backbone(tagger.backbone.name, tagger.backbone_file, include_backbone)
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
            "dense": tagger.backbone.dense,
        }
        if include:
            backbone["file"] = "backbone.safetensors"  # never TorchScript: a tagger is data
            convert_weights(Path(tagger.backbone_file or ""), building / backbone["file"])
            names.append(backbone["file"])
        elif not published:
            backbone["path"] = os.path.abspath(tagger.backbone_file or "")
        content = {
            "format": FORMAT,
            "format_version": _version_of(tagger.method, tagger.scoring),
            "written_by": f"tai_dpt {tai_dpt.__version__}",
            "class_names": list(tagger.class_names),
            "backbone": backbone,
            **({} if tagger.method == Prompts() else {"method": asdict(tagger.method)}),
            "scoring": _scoring_values(tagger.scoring),
            "preprocessing": tagger.preprocessing.as_dict(),
            "calibration": tagger.calibration and tagger.calibration.as_dict(),
            "about": dict(tagger.provenance),
            "files": {name: file_sha256(building / name) for name in names},
        }
        _write_about(building, content)
        if (folder / CARD_FILE).is_file():  # with what people wrote in it
            shutil.copyfile(folder / CARD_FILE, building / CARD_FILE)
        write_card(building, content)
        with undisturbed():
            _put_in_place(building, folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def includes_backbone(name: str, file: str | os.PathLike[str] | None, asked: bool | None) -> bool:
    """Whether ``save`` copies a backbone's weights; InputError where it cannot.

    Args:
        file: that it came from; None for one of the published.
        asked: see ``PromptTagger.save``.
    """
    include = file is not None or not has_name(name) if asked is None else asked
    if include and file is None:
        raise InputError(
            f"the file that the backbone {name} came from is not known, so it cannot be copied; "
            "leave it out (--no-backbone, include_backbone=False)"
        )
    return include


def check_free(
    folder: str | os.PathLike[str],
    *,
    overwrite: bool,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Complain, before an hour of work, about a folder that ``save`` would refuse.

    Args:
        inputs: files that are read; one of the tagger's own is never overwritten.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file; a tagger is a folder: choose another name")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / ABOUT_FILE).is_file():
            raise InputError(f"{folder} exists and is not a tagger; choose another name for it")
        if not overwrite:
            raise InputError(
                f"{folder} holds a tagger already; choose another name, or say that it may be "
                "overwritten (--overwrite)"
            )
    check_output_folder(folder, _own_files(folder), overwrite=overwrite, inputs=inputs)
    check_room(folder.resolve().parent, name=folder.name)  # it is built beside


def _own_files(folder: Path) -> set[str]:
    """What a tagger in ``folder`` consists of; anything else is the user's."""
    names = {ABOUT_FILE, PROMPTS_FILE, EMBEDDINGS_FILE, CARD_FILE}
    with suppress(InputError):
        about = _read_about(folder)
        names |= set(checked(_TaggerRecord, about, where=str(folder)).files)
    return names


def write_calibration(
    folder: str | os.PathLike[str],
    calibration: Calibration,
    scoring: Scoring,
    *,
    view: str | None = None,
) -> None:
    """Replace the calibration of the tagger in ``folder``, and what it was fitted to: the scoring,
    and the view where one is given.

    With another rectification than before what captions gave no longer fits, and goes.
    """
    content = _read_about(Path(folder))
    about = checked(_TaggerRecord, content, where=str(Path(folder) / ABOUT_FILE), remedy=_COPY)
    if about.scoring.rectify != scoring.rectify:
        content["about"].pop("calibration_on_captions", None)
    content["calibration"] = calibration.as_dict()
    content["scoring"] = _scoring_values(scoring)
    content["format_version"] = _version_of(about.method, scoring)
    if view is not None:
        content["preprocessing"]["view"] = view
    _write_about(Path(folder), content)
    write_card(Path(folder), content)


def share_name(folder: Path) -> bool:
    """Leave the place of a library's model on this machine out of a tagger that is to be shared;
    whether there was one."""
    content = _read_about(folder)
    name = str(content["backbone"]["name"])
    content["backbone"]["name"] = shared_name(name)
    _write_about(folder, content)
    write_card(folder, content)
    return name != shared_name(name)


def _scoring_values(scoring: Scoring) -> dict[str, Any]:
    """As ``tagger.json`` has it; as version 1 had it where that says all."""
    values = asdict(scoring)
    return {k: v for k, v in values.items() if k != "rectify" or v != Scoring.rectify}


def _version_of(method: Method, scoring: Scoring) -> int:
    """The format's version: the first, unless the folder says what that one would not heed."""
    first = method == Prompts() and scoring.rectify == Scoring.rectify
    return _FIRST_VERSION if first else FORMAT_VERSION


def load(
    folder: str | os.PathLike[str],
    *,
    device: torch.device | str = "auto",
    backbone: Backbone | str | os.PathLike[str] | None = None,
) -> TaggerParts:
    """What the folder holds; errors as in ``PromptTagger.load``."""
    folder = Path(folder)
    device = choose_device(device)
    content = _read_about(folder)
    where = str(folder / ABOUT_FILE)
    about = checked(_TaggerRecord, content, where=where, remedy=_COPY)
    _check_files(folder, about)
    embeddings, contexts = _read_embeddings(folder, about), _read_contexts(folder, about)
    try:
        preprocessing = Preprocessing.from_dict(about.preprocessing)
    except InputError as error:
        raise InputError(f"{where}: preprocessing: {error}; {_COPY}") from None
    calibration = None
    if about.calibration is not None:
        calibration = _calibration(about.calibration, about, f"{where}: calibration")
    on_captions = about.about.calibration_on_captions
    if on_captions is not None:
        _calibration(on_captions, about, f"{where}: about.calibration_on_captions")
    loaded, file = _backbone(folder, about.backbone, device, backbone)
    if loaded.weights_hash != about.backbone.weights_sha256:
        raise InputError(
            f"{folder}: its prompts were learned for the backbone {about.backbone.name} with "
            f"weights {about.backbone.weights_sha256[:12]}…, and these are "
            f"{loaded.weights_hash[:12]}…: prompts work with their own backbone only"
        )
    loaded.name = about.backbone.name
    if loaded.dense is not None and about.backbone.dense is not None:
        loaded.dense = about.backbone.dense
    return TaggerParts(
        backbone=loaded,
        class_names=about.class_names,
        embeddings=embeddings,
        contexts=contexts,
        method=about.method,
        scoring=about.scoring,
        preprocessing=preprocessing,
        calibration=calibration,
        provenance=content["about"],
        backbone_file=file,
    )


def _check_files(folder: Path, about: _TaggerRecord) -> None:
    """Every file there and as it was written."""
    for name in (PROMPTS_FILE, EMBEDDINGS_FILE, about.backbone.file):
        if name is not None and name not in about.files:
            raise InputError(
                f"{folder / ABOUT_FILE}: 'files' lacks the checksum of {name}; {_COPY}"
            )
    for name, expected in about.files.items():
        if not (folder / name).is_file():
            raise InputError(f"{folder} is not whole: {name} is missing; {_COPY}")
        if file_sha256(folder / name) != expected:
            raise InputError(
                f"{folder / name} is damaged or was changed (its checksum differs from the one in "
                f"{ABOUT_FILE}); {_COPY}"
            )


def _read_embeddings(folder: Path, about: _TaggerRecord) -> dict[str, Tensor]:
    path = folder / EMBEDDINGS_FILE
    embeddings = read_safetensors(path, remedy=_COPY)
    sides = {"C": len(about.class_names), "D": about.backbone.embed_dim}
    wanted = {
        name: ArraySpec("f", tuple(sides[side] for side in shape))
        for name, shape in about.method.shapes.items()
    }
    check_arrays(embeddings, wanted, where=str(path), remedy=_COPY)
    return embeddings


def _read_contexts(folder: Path, about: _TaggerRecord) -> dict[str, Tensor]:
    """The learned vectors by name: (M, width), or (C, M, width) where each class has its own."""
    path = folder / PROMPTS_FILE
    contexts = read_safetensors(path, remedy=_COPY)
    for name, value in contexts.items():
        shape = ("context", "width") if value.ndim == 2 else (len(about.class_names), "M", "width")
        check_arrays(contexts, {name: ArraySpec("f", shape)}, where=str(path), remedy=_COPY)
    return {name.removeprefix("ctx_"): value for name, value in contexts.items()}


def _calibration(values: dict[str, Any], about: _TaggerRecord, where: str) -> Calibration:
    calibration = Calibration.from_dict(values, where=where, remedy=_COPY)
    for name in ("offsets", "positives", *(("thresholds",) if calibration.thresholds else ())):
        if len(getattr(calibration, name)) != len(about.class_names):
            raise InputError(
                f"{where}: '{name}' has {len(getattr(calibration, name))} entries for "
                f"{len(about.class_names)} classes; {_COPY}"
            )
    return calibration


def _backbone(
    folder: Path,
    asked: _BackboneRecord,
    device: torch.device | str,
    given: Backbone | str | os.PathLike[str] | None,
) -> tuple[Backbone, Path | None]:
    """The backbone, and its file where it is none of the published."""
    if isinstance(given, Backbone):
        return given, None
    if given is not None:
        given = backbone_file(given)
        published = has_name(given)
        return load_backbone(given, device=device), None if published else Path(given)
    if asked.file is not None:
        return load_backbone(folder / asked.file, device=device), folder / asked.file
    if asked.published:
        try:
            return load_backbone(asked.name, device=device), None
        except InputError as error:
            if not extra_of(asked.name):
                raise
            raise InputError(
                f"{folder} does not contain its backbone ({error}): say where the same weights "
                f"are (--backbone {asked.name.partition(':')[0]}:…)"
            ) from error
    path = Path(asked.path or "")
    if not path.is_file():
        gone = f", and {path} is not there" if asked.path else ""
        raise InputError(
            f"{folder} does not contain its backbone{gone}; say where the weights of {asked.name} "
            "are (--backbone FILE)"
        )
    return load_backbone(path, device=device), path


def _read_about(folder: Path) -> dict[str, Any]:
    """What ``tagger.json`` holds, known to be of a version that can be read."""
    path = folder / ABOUT_FILE
    if not path.is_file():
        if folder.is_file():
            raise InputError(f"{folder} is a file; a tagger is a folder ('tai-dpt fit')")
        what = "has no" if folder.is_dir() else "is no folder, so it has no"
        raise InputError(f"{folder} {what} {ABOUT_FILE}: not a tagger; 'tai-dpt fit' makes one")
    content = read_json(path, remedy=_COPY)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} does not describe a tagger of tai-dpt")
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise InputError(
            f"{folder} was written by {content.get('written_by', 'a newer version')} (format "
            f"{version}), and this is tai_dpt {tai_dpt.__version__}, which reads up to format "
            f"{FORMAT_VERSION}: update it (pip install --upgrade tai-dpt)"
        )
    return content


def _write_about(folder: Path, content: dict[str, Any]) -> None:
    text = json_document(content)
    with atomic_write(folder / ABOUT_FILE, "w", encoding="utf-8") as stream:
        stream.write(f"{text}\n")


def _put_in_place(building: Path, folder: Path) -> None:
    """Rename ``building`` to ``folder``. Of a tagger that was there its own files are removed."""
    if not folder.exists():
        building.rename(folder)
        return
    own = _own_files(folder)
    aside = building.with_suffix(".old")
    folder.rename(aside)
    try:
        building.rename(folder)
    except OSError:
        with suppress(OSError):
            aside.rename(folder)
        raise
    for entry in aside.iterdir():
        if entry.name not in own:
            entry.rename(folder / entry.name)
    shutil.rmtree(aside, ignore_errors=True)


def _write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    prefix: str = "",
    metadata: dict[str, str] | None = None,
) -> None:
    """As safetensors, with the permissions of any new file (``save_file`` hides it: 0600)."""
    # a copy each: safetensors takes no two names of one tensor
    plain = {f"{prefix}{name}": value.cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_write(path) as stream:
        stream.write(serialized(plain, metadata=metadata))
