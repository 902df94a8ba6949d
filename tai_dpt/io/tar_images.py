"""Images in tar files, read where they lie: nothing is unpacked."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from typing import Any

from tai_dpt.errors import InputError
from tai_dpt.io.image_formats import image_endings
from tai_dpt.io.opening import open_file
from tai_dpt.io.reading import first_line


class TarImage(str):
    """An image in a tar file, called as if the tar were a folder: ``photos.tar/a/1.jpg``."""

    __slots__ = ("offset", "size", "tar")

    tar: str  # the file
    offset: int  # where the image begins in it, in bytes
    size: int

    def __new__(cls, tar: str, name: str, offset: int, size: int) -> TarImage:
        image = super().__new__(cls, f"{tar}/{name}")
        image.tar, image.offset, image.size = tar, offset, size
        return image

    def __reduce__(self) -> tuple[Any, ...]:
        name = self[len(self.tar) + 1 :]
        return TarImage, (self.tar, name, self.offset, self.size)

    def read(self) -> bytes:
        """Its content."""
        with open(self.tar, "rb") as stream:
            stream.seek(self.offset)
            return stream.read(self.size)


def is_tar(name: str) -> bool:
    """By its ending; one that is compressed is refused when it is opened."""
    return name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def images_in_tar(tar: str, left_aside: Counter[str]) -> list[TarImage]:
    """The images in a tar file, in its order; of one name the last, as in unpacking.

    Args:
        left_aside: counts by ending what is no image, and by kind what is no plain file. Hidden
            files are not counted.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    found: dict[str, TarImage] = {}
    endings = image_endings()
    try:
        with open_file(tar) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            # at 0 it holds nothing, where Python 3.10 seeks before the beginning
            while archive.offset and (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # a million: 1 GB
                base = os.path.basename(member.name)
                ending = os.path.splitext(base)[1].lower()
                if member.isdir() or base.startswith("."):
                    continue
                if not member.isreg() or member.issparse():
                    left_aside["links, devices and sparse files"] += 1
                elif ending not in endings:
                    left_aside[ending or "without ending"] += 1
                else:
                    found.pop(member.name, None)
                    found[member.name] = TarImage(tar, member.name, member.offset_data, member.size)
            # tarfile takes what is no header for the end
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError("what follows its last file is no tar")
    except InputError:
        raise
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:  # sizes that are none
        raise InputError(
            f"{tar} cannot be read as a tar ({first_line(error)}): is it whole, and not compressed?"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {tar}: {error.strerror}") from None
    return list(found.values())
