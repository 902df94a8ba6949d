"""The files that people mean by the names they write."""

from __future__ import annotations

import os
import unicodedata

import pytest

from tai_dpt.errors import InputError
from tai_dpt.io.image_names import did_you_mean, locate, refuse_twice


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_names_are_taken_as_they_are_where_there_is_such_a_file(tmp_path):
    touch(tmp_path, "a.jpg", "A.jpg", "deep/b.jpg", "deep/c.png", "d.jpg", "d.png", "e")
    names = ["a.jpg", "A.jpg", "deep\\b.jpg", "./deep/c", "d", "e", "gone.jpg"]
    expected = ["a.jpg", "A.jpg", "deep/b.jpg", "deep/c.png", "d", "e", "gone.jpg"]
    assert locate(names, tmp_path) == expected
    assert locate([str(tmp_path / "deep/../a.jpg")], tmp_path) == ["a.jpg"]


NFD = unicodedata.normalize("NFD", "café.jpg")


@pytest.mark.parametrize(
    ("there", "written"),
    [
        ("a.jpg", "a.png"),
        ("a.jpg", "a.jpeg"),
        ("a.jpg", "A.JPG"),
        ("IMG_1.JPG", "img_1"),
        ("a.jpg", "train/a.jpg"),
        ("a.jpg", "train\\a.jpg"),
        ("a.jpg", "C:\\Users\\me\\images\\a.jpg"),
        ("deep/a.jpg", "a.jpg"),
        ("deep/a.jpg", "images/deep/a.jpg"),
        ("000012.jpg", "12"),
        ("000012.jpg", "12.0"),
        ("000012.jpg", "imgs/12.png"),
        ("1.jpg", "000001.jpg"),
        (NFD, "café.jpg"),
        ("café.jpg", NFD),
        ("v1.2.png", "v1.2"),
        ("my cat.jpg", "my%20cat.jpg"),
        ("my cat.jpg", "https://host/files/my%20cat.jpg?width=200#top"),
        ("a\u00a0b.jpg", "a b.jpg"),
        ("a.jpg", "\u200ea.jpg\ufeff"),
    ],
)
def test_other_spellings_are_found_where_one_image_fits(tmp_path, there, written, monkeypatch):
    touch(tmp_path, there, "other.jpg", "notes.txt")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, ".", f"../{tmp_path.name}"):
        assert locate([written], folder) == [there]


@pytest.mark.parametrize(
    ("there", "written"),
    [
        (["a.jpg", "a.png"], "a"),
        (["x/a.jpg", "y/a.jpg"], "a.jpg"),
        (["a.png", "deep/a.jpg"], "a.jpg"),
        (["01.jpg", "001.jpg"], "1"),
    ],
)
def test_what_fits_several_is_asked_about(tmp_path, there, written):
    touch(tmp_path, *there)
    assert locate([written], tmp_path) == [written]
    hint = did_you_mean(tmp_path / written)
    assert all(f"'{name}'" in hint for name in there)
    assert hint.startswith("; did you mean '") and hint.endswith("'?")


def test_another_folder_is_another_image(tmp_path):
    touch(tmp_path, "dogs/1.jpg")
    assert locate(["cats/1.jpg"], tmp_path) == ["cats/1.jpg"]


def test_the_closest_of_several_is_taken(tmp_path):
    touch(tmp_path, "1.jpg", "001.jpg", "x/b.jpg", "y/b.jpg")
    assert locate(["1", "x/b"], tmp_path) == ["1.jpg", "x/b.jpg"]


def test_no_two_names_get_one_file(tmp_path):
    touch(tmp_path, "a.jpg", "7.jpg")
    assert locate(["a.jpg", "a.png"], tmp_path) == ["a.jpg", "a.png"]
    assert locate(["07", "007"], tmp_path) == ["07", "007"]


def test_did_you_mean_a_name_alike(tmp_path):
    touch(tmp_path, "holiday_0012.jpg")
    assert did_you_mean(tmp_path / "holyday_0012.jpg") == "; did you mean 'holiday_0012.jpg'?"
    assert did_you_mean(tmp_path / "zebra.jpg") == ""
    assert did_you_mean(tmp_path / "no/such/folder/zebra.jpg") == ""


def test_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    touch(tmp_path, name)
    assert locate([name, "cafe"], tmp_path) == [name, "cafe"]


def test_blanks_and_ends_of_lines_are_of_a_name_where_a_file_has_them(tmp_path):
    odd = [
        "  lead.jpg",
        "\x1cfs.jpg",
        "end.jpg ",
        "a\u2028b.jpg",
        "a\x85b.jpg",
        "a\nb.jpg",
        "a\rb.jpg",
    ]
    touch(tmp_path, *odd)
    assert locate(odd, tmp_path) == odd
    touch(tmp_path, "b.jpg", "c\r\nd.jpg")
    assert locate([" b.jpg ", "c\nd.jpg"], tmp_path) == ["b.jpg", "c\r\nd.jpg"]
    with pytest.raises(InputError, match=r"x\.csv: 'b\.jpg' and ' b\.jpg' are the same image"):
        names = ["b.jpg", " b.jpg"]
        refuse_twice(names, locate(names, tmp_path), where="x.csv")


def test_a_folder_that_is_not_there(tmp_path):
    assert locate(["x\\a.jpg"], tmp_path / "none") == ["x/a.jpg"]
