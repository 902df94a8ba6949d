"""Archives from hands unknown."""

from __future__ import annotations

import errno
import io
import tarfile
import zipfile

import pytest

from tai_dpt.errors import InputError
from tai_dpt.io.unpack import unpack

FILES = {"a/one.txt": b"1" * 5000, "a/b/two.txt": b"2", "three.txt": b""}


def write(path, files, **of_tar):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in of_tar.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return path


def below(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz"])
def test_what_is_in_it_comes_out_and_the_same_call_goes_on(tmp_path, name):
    archive, to = write(tmp_path / name, FILES), tmp_path / "to"
    (to / "a").mkdir(parents=True)
    (to / "three.txt").write_bytes(b"mine")
    (to / "a/one.txt").write_bytes(b"x" * 5000)  # as large: taken for done
    assert unpack(archive, to) == ["three.txt"]
    assert below(to) == {**FILES, "three.txt": b"mine", "a/one.txt": b"x" * 5000}
    assert unpack(archive, to, overwrite=True) == []
    assert below(to)["three.txt"] == b""


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "C:\\out.txt"])
def test_nothing_leads_out(tmp_path, ending, name):
    archive = write(tmp_path / f"x.{ending}", {"a.txt": b"a", name: b"out"})
    with pytest.raises(InputError, match="leads out of the folder"):
        unpack(archive, tmp_path / "to")
    assert not (tmp_path / "to").exists() and not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = write(tmp_path / "x.tar", {"a": b""}, type=kind, linkname="../secret")
    with pytest.raises(InputError, match="is a link"):
        unpack(archive, tmp_path / "to")


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("a")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "../secret")
    with pytest.raises(InputError, match="is a link"):
        unpack(tmp_path / "x.zip", tmp_path / "to")


@pytest.mark.parametrize("name", ["x.zip", "x.tgz"])
@pytest.mark.parametrize("keep", [0, 30, 90])
def test_damage_is_one_line_and_no_half_file(tmp_path, name, keep):
    archive = write(tmp_path / name, FILES)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) * keep // 100])
    with pytest.raises(InputError, match=f"{name} is damaged .*: delete it and get it again"):
        unpack(archive, tmp_path / "to")
    found = below(tmp_path / "to") if (tmp_path / "to").exists() else {}
    assert found.items() <= FILES.items()


def test_a_bit_that_turned_is_found(tmp_path):
    archive = write(tmp_path / "x.zip", {"a": b"content " * 200})
    content = bytearray(archive.read_bytes())
    content[40] ^= 1
    archive.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        unpack(archive, tmp_path / "to")
    assert below(tmp_path / "to") == {}


def test_what_becomes_more_than_is_expected_is_refused(tmp_path):
    archive = write(tmp_path / "x.zip", {f"{n}": bytes(1_000_000) for n in range(5)})
    assert archive.stat().st_size < 10_000
    with pytest.raises(InputError, match="becomes 5 MB, and at most 4 are expected of it: nothing"):
        unpack(archive, tmp_path / "to", most=4_000_000)
    assert not (tmp_path / "to").exists()


def test_a_size_that_is_a_lie_ends_where_it_says(tmp_path):
    archive = write(tmp_path / "x.zip", {"a": bytes(1_000_000)})
    content = bytearray(archive.read_bytes())
    for place in (22, content.index(b"PK\1\2") + 24):
        content[place : place + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        unpack(archive, tmp_path / "to")
    assert below(tmp_path / "to") == {}


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_a_file_that_is_a_folder_too_is_damage(tmp_path, names):
    archive = write(tmp_path / "x.zip", {"other": b"1"} | dict.fromkeys(names, b"1"))
    with pytest.raises(InputError, match=r"damaged \('a(/b)?' is a file and a folder in it\)"):
        unpack(archive, tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_other_ways_of_packing(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"content " * 200)
    assert unpack(path, tmp_path / "to") == [] and below(tmp_path / "to")["a"][:8] == b"content "
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    for change in ({45: b"\xff" * 9}, {8: b"\x61\0", start + 10: b"\x61\0"}):  # damage; method 97
        content = bytearray(whole)
        for place, part in change.items():
            content[place : place + len(part)] = part
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x.zip is damaged \(.+\): delete it"):
            unpack(path, tmp_path / "elsewhere")


def test_a_disk_that_fills_on_the_way_is_named(tmp_path, monkeypatch):
    archive = write(tmp_path / "x.zip", FILES)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left") as caught:
        unpack(archive, tmp_path / "to")
    assert caught.value.filename == str(tmp_path / "to/a/one.txt")
    assert below(tmp_path / "to") == {}


def test_room_is_asked_for_first(tmp_path, monkeypatch):
    archive = write(tmp_path / "x.zip", FILES)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 4000}))
    with pytest.raises(InputError, match="free some room, or choose another --root"):
        unpack(archive, tmp_path / "to")
    assert not (tmp_path / "to").exists()
