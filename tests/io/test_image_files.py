"""Finding images: folders, patterns and lists, and what is left aside."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tai_dpt.errors import InputError
from tai_dpt.io.image_files import find_images, images_below, listed_paths, missing_files
from tai_dpt.io.image_formats import image_endings
from tai_dpt.io.images import read_image


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def link(place: Path, target: Path | str) -> None:
    try:
        place.symlink_to(target)
    except OSError:
        pytest.skip("no links here")


def test_a_folder_is_searched_with_all_below_it(tmp_path):
    touch(tmp_path, "b.JPG", "a/2.png", "a/deep/1.webp", "z.tiff", "notes.txt", "a/labels.csv")
    found = images_below(tmp_path)
    assert [Path(p).as_posix() for p in found.paths] == [
        "a/2.png",
        "a/deep/1.webp",
        "b.JPG",
        "z.tiff",
    ]
    assert str(found.left_aside) == "1 .csv, 1 .txt"


def test_hidden_and_system_things_are_no_images(tmp_path):
    touch(tmp_path, ".hidden.jpg", ".git/a.png", "__MACOSX/._b.jpg", "x/@eaDir/b.jpg", "Thumbs.db")
    touch(tmp_path, "x/b.jpg", "y/@eaDir/c.jpg")
    found = images_below(tmp_path)
    assert found.paths == [os.path.join("x", "b.jpg")]
    assert str(found.left_aside) == "folders .git, @eaDir, __MACOSX"


def test_what_cannot_be_read_is_counted_with_what_to_do(tmp_path):
    touch(tmp_path, "a.jpg", "1.CR2", "2.cr2", "clip.MOV", "notes", "w.txt", "v.txt", "u.txt")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert str(images_below(tmp_path).left_aside) == (
        "2 .cr2 (camera raw: develop to JPEG), 1 .mov (video: take frames out of it), "
        "3 .txt, 1 broken links, 1 without ending"
    )


def test_many_kinds_are_summed_up(tmp_path):
    touch(tmp_path, *(f"{i}.x{i:02d}" for i in range(12)))
    text = str(images_below(tmp_path).left_aside)
    assert text.startswith("1 .x00, 1 .x01") and text.endswith("1 .x07, 4 other files")


def test_links_are_followed_once_and_never_in_a_circle(tmp_path):
    touch(tmp_path, "photos/real/1.jpg", "elsewhere/2.jpg")
    link(tmp_path / "photos/a_link", "real")  # before it in the alphabet
    link(tmp_path / "photos/out", tmp_path / "elsewhere")
    link(tmp_path / "photos/real/up", "..")
    link(tmp_path / "elsewhere/back", tmp_path / "photos")
    link(tmp_path / "photos/self.jpg", "self.jpg")
    found = images_below(tmp_path / "photos")
    assert [Path(p).as_posix() for p in found.paths] == ["out/2.jpg", "real/1.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_image(tmp_path):
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "p.jpg")
    found = images_below(tmp_path)
    assert found.paths == ["a.jpg"]
    assert str(found.left_aside) == "1 pipes, sockets and devices"
    with pytest.raises(InputError, match=r"p\.jpg: a pipe or a device"):
        read_image(tmp_path / "p.jpg")


def test_names_folders_and_patterns(tmp_path):
    touch(tmp_path, "0.png", "1.png", "more/2.JPG", "notes.txt", "empty/notes.txt")
    top = str(tmp_path)
    found = find_images([top])
    assert [os.path.relpath(p, top) for p in found.paths] == [
        "0.png",
        "1.png",
        os.path.join("more", "2.JPG"),
    ]
    assert str(found.left_aside) == "2 .txt"
    assert len(find_images([f"{top}/*.png", f"{top}/0.png"]).paths) == 2  # each once
    assert len(find_images([f"{top}/**/*.JPG"]).paths) == 1
    assert len(find_images([f"{top}/*"]).paths) == 4  # as a shell would have it, and a folder's
    assert find_images([f"{top}/notes.txt"]).paths == [f"{top}/notes.txt"]  # named itself


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["*.bmp"], r"nothing matches the pattern '\*\.bmp'"),
        (["9.png"], "no such file or folder: '9.png'"),
        ([""], "no such file or folder: ''"),
        (["{0.." + "9" * 5000 + "}.tar"], "no such file or folder"),
        (["{2..0}.tar"], "counts from 2 to 0: the smaller comes first"),
        (["letters"], "letters: no images in this folder; left aside: 1 .txt"),
        (["nothing.tar"], "no images in nothing.tar$"),
        ([], "no images named"),
    ],
)
def test_what_names_nothing_is_said(tmp_path, monkeypatch, named, message):
    touch(tmp_path, "letters/a.txt")
    tarfile.open(tmp_path / "nothing.tar", "w").close()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        find_images(named)


def test_a_file_called_like_a_pattern_is_itself(tmp_path):
    touch(tmp_path, "a[1].png", "a1.png")
    assert find_images([str(tmp_path / "a[1].png")]).paths == [str(tmp_path / "a[1].png")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_keeps_names_as_the_disk_has_them(tmp_path, monkeypatch, end):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "plain.png", "trailing ", " .png", "both.png")
    names = ["plain.png", "trailing ", " .png"]
    text = "\ufeff" + end.join([*names, "", "  both.png  ", "gone.png "]) + end
    (tmp_path / "l.txt").write_bytes(text.encode())
    assert listed_paths("l.txt") == [*names, "both.png", "gone.png"]


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are text there")
def test_a_list_may_hold_names_that_are_no_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = b"caf\xe9.png"
    Image.new("RGB", (4, 4)).save(io.BytesIO(), "PNG")
    with open(name, "wb") as stream:
        Image.new("RGB", (4, 4)).save(stream, "PNG")
    (tmp_path / "l.txt").write_bytes(name + b"\n")
    (path,) = find_images([], lists=["l.txt"]).paths
    assert os.fsencode(path) == name
    assert read_image(path).size == (4, 4)


def test_a_list_may_be_parted_by_nul(tmp_path, monkeypatch):
    touch(tmp_path, "a\nb.png", "c.png")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l").write_bytes(b"a\nb.png\0c.png\0")
    assert listed_paths("l") == ["a\nb.png", "c.png"]


def test_a_list_comes_from_standard_input(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "below/b.png", "below/c.txt")
    monkeypatch.chdir(tmp_path)
    given = io.TextIOWrapper(io.BytesIO(b"below\na.png\n"))
    monkeypatch.setattr(sys, "stdin", given)
    found = find_images([], lists=["-"])
    assert found.paths == [os.path.join("below", "b.png"), "a.png"]
    assert str(found.left_aside) == "1 .txt"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("a.png\n".encode("utf-16"), "is UTF-16; save the list as UTF-8")],
)
def test_a_list_that_cannot_be_read(tmp_path, content, message):
    if content is not None:
        (tmp_path / "l").write_bytes(content)
    with pytest.raises(InputError, match=message):
        listed_paths(tmp_path / "l")


def test_missing_files(tmp_path):
    touch(tmp_path, "a.jpg")
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "no/c.jpg"]
    assert missing_files(paths) == [str(path) for path in paths[1:]]


def test_endings_are_pillows_but_for_what_it_cannot_read():
    endings = image_endings()
    assert endings >= {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".bmp", ".gif", ".jp2"}
    assert endings >= {".mpo", ".tga", ".ppm"}
    assert not endings & {".h5", ".mpg", ".pdf", ".ps", ".eps", ".txt", ""}


def test_postscript_is_not_handed_to_ghostscript(tmp_path):
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(("ending", "package"), [(".heic", "pillow_heif"), (".jxl", "pillow_jxl")])
def test_more_formats_are_read_with_their_plug_ins(tmp_path, ending, package):
    pytest.importorskip(package)
    assert ending in image_endings()
    Image.new("RGB", (32, 16), (200, 30, 30)).save(tmp_path / f"a{ending}")
    assert images_below(tmp_path).paths == [f"a{ending}"]
    read = read_image(tmp_path / f"a{ending}")
    assert read.size == (32, 16) and read.getpixel((5, 5))[0] > 150
