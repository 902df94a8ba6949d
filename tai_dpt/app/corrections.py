"""Corrected labels: a folder with the images and the label file that ``calibrate`` takes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tai_dpt.datasets.label_files import read_label_file
from tai_dpt.errors import InputError
from tai_dpt.io.atomic import atomic_write
from tai_dpt.io.image_formats import image_endings
from tai_dpt.io.lock import wait_for_lock
from tai_dpt.io.reading import parse_json
from tai_dpt.io.text import read_lines
from tai_dpt.labels.vocabulary import Vocabulary

LABELS_FILE = "labels.jsonl"
_IMAGES = "images"
_LONGEST_NAME = 60  # characters


class Corrections:
    """``labels.jsonl`` in a folder, and the images that it names.

    A line of another image, whoever wrote it, stays as it is; the image that is corrected again
    gets a new line in place of its old one.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        """
        Raises:
            InputError: there is such a file, and it is no label file of these classes.
        """
        self.folder = folder
        self.file = folder / LABELS_FILE
        self.vocabulary = vocabulary
        self._check()

    def __len__(self) -> int:
        return len(self._lines()) if self.file.exists() else 0

    def save(
        self,
        name: str,
        content: bytes,
        *,
        present: Sequence[str],
        absent: Sequence[str] | None,
    ) -> str:
        """Keep an image, then its labels; the label file is the old one or the whole new one.

        Args:
            name: what the image's file is called elsewhere.
            absent: classes that are not in it; None: all that are not ``present``.

        Returns: what the image is called in the label file.

        Raises:
            InputError: the label file was changed meanwhile, and cannot be read; it stays so.
        """
        image = f"{_IMAGES}/{_file_name(name, content)}"
        record: dict[str, object] = {"image": image, "labels": list(present)}
        if absent is not None:
            record["absent"] = list(absent)
        self.folder.mkdir(parents=True, exist_ok=True)
        with wait_for_lock(self.folder / f".{LABELS_FILE}.lock"):
            self._check()  # it may have been changed meanwhile
            others = [line for line in self._lines() if self._image(line) != image]
            path = self.folder / image
            if not path.exists():
                with atomic_write(path) as stream:
                    stream.write(content)
            elif path.read_bytes() != content:
                raise InputError(f"{path} is another image: move it elsewhere")
            # where the user's file is a link, it stays one
            with atomic_write(os.path.realpath(self.file), "w", encoding="utf-8") as text:
                text.writelines(f"{line}\n" for line in others)
                text.write(json.dumps(record, ensure_ascii=False) + "\n")
        return image

    def _check(self) -> None:
        """Raise InputError where the label file cannot be read; one that is empty may be."""
        if self.file.exists() and (not self.file.is_file() or self._lines()):
            read_label_file(self.file, self.vocabulary)

    def _lines(self) -> list[str]:
        if not self.file.exists() or not self.file.stat().st_size:
            return []
        return [line for _, line in read_lines(self.file) if line.strip()]

    def _image(self, line: str) -> object:
        record = parse_json(line, where=str(self.file))
        return record.get("image") if isinstance(record, dict) else None


def _file_name(name: str, content: bytes) -> str:
    """A file's name made of the name it has, and of its content, so that no two share one.

    >>> _file_name("../My photo.JPG", b"")
    'My_photo-e3b0c44298fc.jpg'
    """
    last = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).name
    stem, ending = os.path.splitext(last)
    plain = re.sub(r"[^\w-]+", "_", stem)[:_LONGEST_NAME].strip("_") or "image"
    kept = ending.lower() if ending.lower() in image_endings() else ""
    return f"{plain}-{hashlib.sha256(content).hexdigest()[:12]}{kept}"
