"""Images in tars: what counts as one, and what is no tar."""

from __future__ import annotations

import io
import pickle
import tarfile

import pytest

from tai_dpt.errors import InputError
from tai_dpt.io.image_files import Shard, find_images
from tai_dpt.io.images import read_image

from taggers import photo


def test_plain_images_alone_and_the_last_of_a_name(tmp_path):
    photo(tmp_path / "a.png", size=(8, 4))
    photo(tmp_path / "b.png", size=(4, 8))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "1.png")
        tar.add(tmp_path / "a.png", "../out.png")
        for name, kind in (("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE),
                           ("pipe.png", tarfile.FIFOTYPE)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "1.png"
            tar.addfile(member)
        tar.addfile(tarfile.TarInfo("day/._1.png"), io.BytesIO())
        tar.add(tmp_path / "b.png", "1.png")
    before = set(tmp_path.iterdir())
    found = find_images([str(tmp_path / "x.tar")])
    top = tmp_path / "x.tar"
    assert found.paths == [f"{top}/../out.png", f"{top}/1.png"]
    assert str(found.left_aside) == "3 links, devices and sparse files"
    assert set(found.files) == {str(top)}
    again = pickle.loads(pickle.dumps(found.paths[1]))
    assert again == found.paths[1] and read_image(again).size == (4, 8)
    assert read_image(found.paths[0]).size == (8, 4)
    assert set(tmp_path.iterdir()) == before


def test_a_damaged_tar_is_one_line(tmp_path):
    photo(tmp_path / "a.png")
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
        tar.add(tmp_path / "a.png", "b.png")
    whole = path.read_bytes()
    half = len(whole[: whole.rindex(b"b.png\0")])  # where the second header begins
    large = bytearray(whole[:512])
    large[124:136] = b"\x80" + b"\x7f" * 11  # a size beyond all files
    large[148:156] = b"%06o\0 " % (sum(large[:148]) + 8 * 32 + sum(large[156:]))
    damaged = (bytes(large) + whole[512:], whole[: half + 700],
               whole[: half + 100], b"", b"\x1f\x8b" + bytes(600),
               whole[:half] + b"x" * 1024)  # fmt: skip
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.tar cannot be read as a tar .*is it whole"):
            find_images([str(path)])
    path.unlink()
    (tmp_path / "list").write_text(str(path))
    with pytest.raises(InputError, match=r"no such file: .*x\.tar"):
        find_images([], lists=[str(tmp_path / "list")])


def test_a_range_names_every_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(8, 12):
        photo(tmp_path / f"{i:03}.png")
    assert find_images(["{008..011}.png"]).paths == [f"{i:03}.png" for i in range(8, 12)]
    with pytest.raises(InputError, match=r"no such file or folder: '012\.png'"):
        find_images(["{008..012}.png"])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_shards_are_all_of_it_in_order(count):
    items = [str(i) for i in range(10)]
    parts = [Shard(number, count).of(items) for number in range(count)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
