"""Corpora read and labelled once: kept in a cache folder, keyed by what determines them."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tai_dpt.backbones.tokenizers import CLIPS_OWN, Tokenizer
from tai_dpt.datasets.corpora.labelled import (
    LabelledCorpus,
    label_corpus,
    label_matrix,
    warn_of_silent_classes,
)
from tai_dpt.datasets.corpora.readers import caption_files, stream_captions
from tai_dpt.datasets.corpora.sampling import Keep
from tai_dpt.io.arrays import ArraySpec, read_npz
from tai_dpt.io.atomic import atomic_write, file_sha256
from tai_dpt.io.cache import ELSEWHERE
from tai_dpt.io.reading import checked, parse_json
from tai_dpt.labels import NounFilter

# raise it whenever the readers may return other captions, or the layout of the cache changes
_VERSION = 5
_ALL = Keep()
_PARTS = {
    "texts": ArraySpec("iu", ("bytes",)),
    "ends": ArraySpec("iu", ("captions",)),
    "label_ends": ArraySpec("iu", ("captions",)),
    "label_columns": ArraySpec("iu", ("labels",)),
    "dropped": ArraySpec("iu", ()),
    "naming_none": ArraySpec("iu", ()),
    "dropped_labels": ArraySpec("iu", ("classes",)),
    "notes": ArraySpec("iu", ("bytes of notes",)),
}


def load_corpus(
    files: Sequence[str | os.PathLike[str]],
    noun_filter: NounFilter,
    *,
    format: str = "auto",
    field: str | int | None = None,
    one_per_image: bool = False,
    on_bad_line: str = "error",
    tokenizer: Tokenizer = CLIPS_OWN,
    cache_folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
    keep: Keep = _ALL,
    workers: int | None = None,
) -> LabelledCorpus:
    """Read caption files (see ``read_captions``) and label them (see ``label_corpus``).

    They are read and labelled in one go, whatever their size.

    Args:
        files: their captions follow one another; patterns (``captions-*.txt.gz``) stand for the
            files that match, by name.
        tokenizer: of the backbone that will read them.
        cache_folder: keep the result there, keyed by the files' contents, the options, and the
            filter's vocabulary, preset and version, and the tokenizer; a second call only reads it.
            A damaged entry is made again; a folder that cannot be written is a warning. Not used
            for pipes, and where the filter's lemmatiser is a function: these have no key.

    Raises:
        InputError: no files, a file that cannot be read, or no caption names a class.
    """
    paths = caption_files(files)
    options: dict[str, Any] = {
        "format": format,
        "field": field,
        "one_per_image": one_per_image,
        "on_bad_line": on_bad_line,
    }
    entry: Path | None = None
    once = not all(path.is_file() for path in paths)  # a pipe is read once: it has no key
    if cache_folder is not None and isinstance(noun_filter.lemmatizer, str) and not once:
        key = _key(paths, noun_filter, {**options, **asdict(keep)}, tokenizer)
        entry = Path(cache_folder) / "corpora" / f"{key}.npz"
        kept = _load(entry, len(noun_filter.vocabulary))
        if kept is not None:
            corpus, notes = kept
            for note in notes:
                warnings.warn(note, stacklevel=2)
            warn_of_silent_classes(corpus.per_class_counts, noun_filter.vocabulary, tokenizer)
            return corpus
    notes = []

    def captions() -> Iterator[str]:
        for path in paths:
            yield from stream_captions(path, notes=notes, **options)

    corpus = label_corpus(
        captions(), noun_filter, tokenizer=tokenizer, progress=progress, keep=keep, workers=workers
    )
    for note in notes:
        warnings.warn(note, stacklevel=2)
    if entry is not None:
        try:
            _save(entry, corpus, notes)
        except OSError as error:
            warnings.warn(f"labels are not kept ({error}): {ELSEWHERE}", stacklevel=2)
    return corpus


def _key(
    files: Sequence[Path],
    noun_filter: NounFilter,
    options: dict[str, Any],
    tokenizer: Tokenizer,
) -> str:
    parts = [_VERSION, [file_sha256(f) for f in files], options, noun_filter.fingerprint()]
    if options["format"] == "auto":  # which format that is depends on the ending
        parts.append([f.suffix for f in files])
    reads = [tokenizer.identity, tokenizer.context_length]
    if reads != [CLIPS_OWN.identity, CLIPS_OWN.context_length]:
        parts.append(reads)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _save(path: Path, corpus: LabelledCorpus, notes: Sequence[str]) -> None:
    texts = [text.encode() for text in corpus.texts]
    with atomic_write(path) as stream:
        np.savez(
            stream,
            texts=np.frombuffer(b"".join(texts), np.uint8),
            ends=np.cumsum([len(text) for text in texts]),
            label_ends=corpus.labels.indptr[1:],
            label_columns=corpus.labels.indices,
            dropped=corpus.dropped,
            naming_none=corpus.naming_none,
            dropped_labels=corpus.dropped_labels,
            notes=np.frombuffer(json.dumps(list(notes)).encode(), np.uint8),
        )


def _load(path: Path, classes: int) -> tuple[LabelledCorpus, list[str]] | None:
    """What ``_save`` wrote; None where there is nothing or it is damaged."""
    try:
        stored = read_npz(path, _PARTS)
        blob = stored["texts"].tobytes()
        ends = stored["ends"].tolist()
        texts = [blob[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)]
        columns, ends = stored["label_columns"], stored["label_ends"]
        if len(columns) and not 0 <= columns.min() <= columns.max() < classes:
            return None
        rows = (columns[a:b].tolist() for a, b in zip([0, *ends], ends, strict=False))
        labels = label_matrix(rows, classes)
        said = parse_json(stored["notes"].tobytes().decode(), where=str(path))
        notes = list(checked(tuple[str, ...], said, where=str(path)))
        counts = int(stored["dropped"]), int(stored["naming_none"])
        of_dropped = stored["dropped_labels"]
        if len(of_dropped) != classes:
            return None
        return LabelledCorpus(texts, labels, *counts, dropped_labels=of_dropped), notes
    except ValueError:  # an InputError among them
        return None
