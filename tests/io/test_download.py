"""Large files from a publisher that cuts off, lies, fills the disk or is not there."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from types import SimpleNamespace

import pytest

from tai_dpt.errors import InputError
from tai_dpt.io import download
from tai_dpt.io.download import fetch

from publisher import publish

DATA = bytes(range(256)) * 40  # 10,240 bytes
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def publisher(monkeypatch):
    monkeypatch.setattr(download, "_WAITS", (0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with publish({"a.zip": DATA}) as server:
        yield server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "below/a.zip"


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


@pytest.mark.parametrize("known", [{"sha256": SHA256, "size": len(DATA)}, {}])
def test_what_is_cut_off_goes_on(publisher, target, known):
    publisher.cuts = [1000, 4000, 4000, 9000]
    fetch(publisher.url("a.zip"), target, **known)
    assert target.read_bytes() == DATA and left(target) == ["a.zip"]
    ranges = [asked for _, asked in publisher.asked]
    assert ranges == ["", "bytes=1000-", "bytes=4000-", "bytes=4000-", "bytes=9000-"]


@pytest.mark.parametrize("ending", ["reset", "stall"])
def test_what_arrived_before_a_connection_broke_is_kept(publisher, target, monkeypatch, ending):
    monkeypatch.setattr(download, "_TIMEOUT", 0.3)
    publisher.cuts, publisher.ending = [1000, 4000], ending
    fetch(publisher.url("a.zip"), target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert [asked for _, asked in publisher.asked] == ["", "bytes=1000-", "bytes=4000-"]


def test_a_size_that_is_not_told_or_wrong(publisher, target):
    publisher.tells_size, publisher.cuts = False, [1000]
    fetch(publisher.url("a.zip"), target, size=len(DATA))
    assert target.read_bytes() == DATA and publisher.asked[-1][1] == "bytes=1000-"
    target.unlink()
    with pytest.raises(InputError, match=r"it sent 10,240 bytes, and 50 are expected"):
        fetch(publisher.url("a.zip"), target, size=50)
    publisher.tells_size, publisher.too_many = True, 5
    with pytest.raises(InputError, match="has 10,245 bytes, and 10,240 are expected"):
        fetch(publisher.url("a.zip"), target, size=len(DATA))
    assert not left(target)


def test_a_file_that_moved_is_followed(publisher, target):
    publisher.moved = {"/a.zip": "/b/a.zip", "/b/a.zip": publisher.url("c/a.zip")}
    publisher.cuts = [1000]
    fetch(publisher.url("a.zip"), target, sha256=SHA256)
    assert target.read_bytes() == DATA
    assert [part for part in publisher.asked if "/c/" in part[0]][-1][1] == "bytes=1000-"


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("/a.zip", "infinite loop"),
        ("file:///etc/passwd", "is not allowed"),
        ("https://127.0.0.1:9/a.zip", "refused"),
        ("http://[::1", "Invalid IPv6"),
    ],
)
def test_a_file_that_moved_to_nowhere_is_said_at_once(publisher, target, to, said):
    publisher.moved = {"/a.zip": to}
    with pytest.raises(InputError, match=said) as caught:
        fetch(publisher.url("a.zip"), target, sha256=SHA256)
    assert len(str(caught.value).splitlines()) == 1 and not left(target)


def test_an_earlier_call_is_gone_on_with(publisher, target):
    publisher.cuts = [1000] + [0] * 9  # then nothing new
    with pytest.raises(InputError, match=r"it ended after 1,000 of 10,240 bytes\): fetch http"):
        fetch(publisher.url("a.zip"), target, sha256=SHA256)
    assert left(target) == ["a.zip.part"] and len(publisher.asked) == 3
    publisher.cuts = []
    fetch(publisher.url("a.zip"), target, sha256=SHA256)
    assert target.read_bytes() == DATA and publisher.asked[-1][1] == "bytes=1000-"


def test_a_server_without_ranges_is_asked_for_the_whole(publisher, target):
    publisher.ranges, publisher.cuts = False, [9000, 5000]
    fetch(publisher.url("a.zip"), target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("known", [{"sha256": SHA256}, {}])
def test_the_beginning_of_another_file_is_not_gone_on_with(publisher, target, known):
    target.parent.mkdir()
    target.with_name("a.zip.part").write_bytes(b"another")  # its date is not the server's
    fetch(publisher.url("a.zip"), target, **known)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_more_than_there_is(publisher, target, size):
    target.parent.mkdir()
    target.with_name("a.zip.part").write_bytes(DATA + b"more")
    fetch(publisher.url("a.zip"), target, size=size, sha256=SHA256)
    assert target.read_bytes() == DATA


def test_all_there_but_for_its_name_asks_nobody(publisher, target):
    target.parent.mkdir()
    target.with_name("a.zip.part").write_bytes(DATA)
    fetch(publisher.url("a.zip"), target, size=len(DATA), sha256=SHA256)
    assert target.read_bytes() == DATA and not publisher.asked


def test_a_wrong_checksum_leaves_nothing(publisher, target):
    with pytest.raises(InputError, match=r"wrong checksum \(10,240 bytes.*expected 0000.*: try"):
        fetch(publisher.url("a.zip"), target, sha256="0" * 64)
    assert not left(target)


def test_another_size_is_told_before_anything_is_fetched(publisher, target):
    with pytest.raises(InputError, match="has 10,240 bytes, and 13,510,573,713 are expected"):
        fetch(publisher.url("a.zip"), target, size=13_510_573_713, sha256=SHA256)
    assert not left(target)


def test_an_overloaded_server_is_asked_again_and_a_missing_file_not(publisher, target):
    publisher.faults = [503, 429]
    fetch(publisher.url("a.zip"), target)
    assert target.read_bytes() == DATA
    with pytest.raises(InputError, match=r"cannot download 'b.zip' \(HTTP Error 404"):
        fetch(publisher.url("b.zip"), target.with_name("b.zip"), remedy=", or pray")
    assert len(publisher.asked) == 4


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, "it sent a web page, as networks do that"),
        ({"Content-Encoding": "gzip"}, "it sent gzip, not the file as it is"),
    ],
)
def test_what_is_sent_in_place_of_the_file_is_told(publisher, target, header, said):
    publisher.headers = header
    with pytest.raises(InputError, match=said):
        fetch(publisher.url("a.zip"), target)
    assert not left(target) and len(publisher.asked) == 1


def test_no_range_where_none_was_asked_for(publisher, target):
    publisher.faults = [416]
    fetch(publisher.url("a.zip"), target, sha256=SHA256)
    assert target.read_bytes() == DATA


def test_a_full_disk(publisher, target, monkeypatch):
    publisher.cuts = [1000, 0, 0]
    with pytest.raises(InputError):
        fetch(publisher.url("a.zip"), target)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9239))
    with pytest.raises(OSError) as caught:
        fetch(publisher.url("a.zip"), target)
    assert caught.value.errno == errno.ENOSPC and str(target) in str(caught.value.filename)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=9240))
    fetch(publisher.url("a.zip"), target)
    assert target.read_bytes() == DATA


def test_a_disk_that_fills_on_the_way_keeps_what_arrived(publisher, target, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        patch.setattr(os, "fsync", full)
        fetch(publisher.url("a.zip"), target, size=len(DATA))
    assert caught.value.filename == f"{target}.part"
    assert left(target) == ["a.zip.part"]
    fetch(publisher.url("a.zip"), target, size=len(DATA))
    assert target.read_bytes() == DATA
