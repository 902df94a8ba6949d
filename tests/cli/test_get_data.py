"""``tai-dpt get-data``: a server here plays the publishers, with the layouts cut down."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tai_dpt.cli.main import cli
from tai_dpt.datasets import inventory
from tai_dpt.datasets.inventory import CHECKS, Part
from tai_dpt.datasets.sources import read_sources
from tai_dpt.errors import InputError
from tai_dpt.io import download
from tai_dpt.io.output import os_error

import layouts
from publisher import publish

NAMES = ("voc2007", "coco2014", "captions_train2014", "openimages")
ARRIVED = {
    "voc2007": {"trainval images": 6, "trainval labels": 20, "test images": 5},
    "coco2014": {"train2014 images": 6, "val2014 images": 5, "val2014 instances": 5},
    "captions_train2014": {"captions": 12},
    "openimages": {"narratives": 12},
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, bytes]:
    """The publishers' files, from the layouts that they unpack to."""
    root = tmp_path_factory.mktemp("published")
    layouts.write_voc(root)
    layouts.write_coco(root)
    narratives = layouts.write_narratives(root)
    packed = {narratives.name: narratives.read_bytes()}
    for name, home, folder, marks in (
        ("VOCtrainval_06-Nov-2007.tar", root, "VOCdevkit", ("trainval", "JPEGImages/0000")),
        ("VOCtest_06-Nov-2007.tar", root, "VOCdevkit", ("test", "JPEGImages/0010")),
        ("annotations_trainval2014.zip", root / "COCO", "annotations", ("",)),
        ("val2014.zip", root / "COCO", "val2014", ("",)),
        ("train2014.zip", root / "COCO", "train2014", ("",)),
    ):
        chosen = root / "chosen" / name
        for path in (home / folder).rglob("*.*"):
            if any(mark in str(path) for mark in marks):
                to = chosen / path.relative_to(home)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)
        base, _, ending = name.rpartition(".")
        made = shutil.make_archive(str(root / base), ending, chosen)
        packed[name] = Path(made).read_bytes()
    return packed


@pytest.fixture
def publisher(archives, monkeypatch):
    monkeypatch.setattr(download, "_WAITS", (0.0,))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with publish(dict(archives)) as server:
        yield server


@pytest.fixture
def sources(publisher, archives, tmp_path) -> Path:
    """The file of sources that ships, with the addresses and checksums of the publisher here."""
    listed = {}
    for name in NAMES:
        origin = read_sources()[name].model_dump()
        for file in origin["files"]:
            base = file["url"].rpartition("/")[2]
            file.update(url=publisher.url(base), bytes=len(archives[base]), unpacked=100_000)
            file["sha256"] = hashlib.sha256(archives[base]).hexdigest()
        listed[name] = {
            **origin,
            "files": [dict(f, gives=list(f["gives"])) for f in origin["files"]],
        }
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump(listed))
    return path


def get(*arguments):
    return CliRunner().invoke(cli, ["get-data", *map(str, arguments)])


def found(name, root):
    return {part.what: part.found for part in CHECKS[name](root)}


def test_everything_arrives_where_it_is_read(publisher, sources, tmp_path):
    publisher.cuts = [500, 2000]
    done = get(*NAMES, "--root", tmp_path / "data", "--sources", sources)
    for name, parts in ARRIVED.items():
        assert parts.items() <= found(name, tmp_path / "data").items()
    assert done.exit_code == 1 and "4,947 missing" in done.stdout  # checked against the real ones
    assert not list((tmp_path / "data/archives").iterdir())
    assert len([path for path, _ in publisher.asked if "annotations" in path]) == 1


def test_what_is_complete_is_not_fetched_again(publisher, sources, tmp_path, monkeypatch):
    def but_test_images(root):
        return [Part("trainval images", "", 1, 1), Part("test images", "", 1, 2)]

    monkeypatch.setitem(inventory.CHECKS, "voc2007", but_test_images)
    done = get("voc2007", "--root", tmp_path, "--sources", sources)
    assert [path for path, _ in publisher.asked] == ["/VOCtest_06-Nov-2007.tar"]
    assert "VOCtrainval_06-Nov-2007.tar: what it holds is there" in done.stderr


def test_who_waited_for_another_fetches_nothing_again(sources, tmp_path, monkeypatch):
    waited = []

    @contextmanager
    def alone(root):
        waited.append(root)
        monkeypatch.setitem(inventory.CHECKS, "voc2007", lambda _: [Part("test images", "", 1, 1)])
        yield

    monkeypatch.setattr("tai_dpt.cli.get_data.alone", alone)
    arguments = ("voc2007", "--root", tmp_path, "--sources", sources, "--test-images-only")
    done = get(*arguments)
    assert done.exit_code == 0 and waited == [tmp_path], done.output
    assert "VOCtest_06-Nov-2007.tar: what it holds is there" in done.stderr


def test_test_images_only(publisher, sources, tmp_path):
    done = get(
        "voc2007", "coco2014", "--root", tmp_path, "--sources", sources, "--test-images-only"
    )
    names = {path[1:] for path, _ in publisher.asked}
    assert names == {"VOCtest_06-Nov-2007.tar", "val2014.zip", "annotations_trainval2014.zip"}
    assert "trainval images" not in done.stdout


def test_a_dry_run_says_bytes_and_room_and_fetches_nothing(publisher, tmp_path):
    done = get("voc2007", "openimages", "--root", tmp_path / "data", "--dry-run")
    assert done.exit_code == 0 and not (tmp_path / "data").exists() and not publisher.asked
    assert "VOCtest_06-Nov-2007.tar: 451,020,800 bytes; http://host.robots.ox.ac.uk" in done.stdout
    assert "about 140,000,000 bytes" in done.stdout and "no checksum is known" in done.stdout
    assert "to fetch: 1.05 GB; room needed: about 1.36 GB; free at " in done.stdout


def test_too_little_room_is_told_before_anything_is_fetched(
    publisher, sources, tmp_path, monkeypatch
):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 9_000}))
    done = get("voc2007", "--root", tmp_path, "--sources", sources)
    assert isinstance(done.exception, InputError) and not publisher.asked
    assert "free some room, or choose another --root" in str(done.exception)


def test_an_archive_that_becomes_too_much_is_refused(publisher, sources, tmp_path):
    sources.write_text(sources.read_text().replace("unpacked: 100000", "unpacked: 100"))
    done = get("voc2007", "--root", tmp_path, "--sources", sources)
    assert "and at most 0 are expected of it: nothing was unpacked" in str(done.exception)
    assert not (tmp_path / "VOCdevkit").exists()


def test_a_changed_file_at_the_publisher_is_refused(publisher, sources, tmp_path):
    name = "VOCtrainval_06-Nov-2007.tar"
    publisher.files[name] = publisher.files[name][:-1] + b"x"
    done = get("voc2007", "--root", tmp_path, "--sources", sources)
    assert "has the wrong checksum" in str(done.exception)
    assert "or name a mirror that has it (--mirror URL)" in str(done.exception)
    assert not list((tmp_path / "archives").iterdir()) and not (tmp_path / "VOCdevkit").exists()


@pytest.mark.parametrize("kind", ["folder", "server", "put by hand"])
def test_mirrors(publisher, sources, archives, tmp_path, kind):
    data, folder = tmp_path / "data", tmp_path / "mirror"
    here = data / "archives" if kind == "put by hand" else folder
    here.mkdir(parents=True)
    for name in ("val2014.zip", "annotations_trainval2014.zip"):
        (here / name).write_bytes(archives[name])
    at = {"folder": ("--mirror", folder), "server": ("--mirror", f"{publisher.base}/é mirror/")}
    get("coco2014", "--test-images-only", "--root", data, "--sources", sources, *at.get(kind, ()))
    assert found("coco2014", data)["val2014 images"] == 5
    assert [path.startswith("/%C3%A9%20mirror/") for path, _ in publisher.asked] == (
        [True, True] if kind == "server" else []
    )
    assert (here / "val2014.zip").exists()  # it was not fetched, so it is not deleted


def test_a_file_where_a_folder_is_to_be(publisher, sources, tmp_path):
    (tmp_path / "archives").write_text("mine")
    done = get("voc2007", "--root", tmp_path, "--sources", sources)
    assert isinstance(done.exception, OSError) and not publisher.asked
    assert "move it away, or choose another place" in os_error(done.exception)


def test_a_damaged_file_of_a_mirror_is_named(sources, archives, tmp_path):
    (tmp_path / "VOCtrainval_06-Nov-2007.tar").write_bytes(b"half")
    done = get("voc2007", "--root", tmp_path, "--sources", sources, "--mirror", tmp_path)
    assert "VOCtrainval_06-Nov-2007.tar has 4 bytes, not" in str(done.exception)


def test_what_differs_stays_unless_it_may_go(publisher, sources, tmp_path):
    mine = tmp_path / "COCO/annotations/captions_train2014.json"
    layouts.write_captions(mine, 4)
    done = get("captions_train2014", "--root", tmp_path, "--sources", sources)
    assert "1 files differ from those that are there, which stay (--overwrite" in done.stderr
    assert found("captions_train2014", tmp_path)["captions"] == 4
    get("captions_train2014", "--root", tmp_path, "--sources", sources, "--overwrite")
    assert found("captions_train2014", tmp_path)["captions"] == 12


def test_what_only_a_form_gives_is_told(tmp_path):
    done = get("nuswide", "flickr30k", "--root", tmp_path)
    assert done.exit_code == 1
    assert "nuswide: only on request; the image list" in done.stderr
    assert "fill in the form" in done.stdout and "does so" not in done.stdout


def test_advice_may_have_braces(tmp_path):
    path = tmp_path / "sources.yaml"
    path.write_text("flickr8k: {advice: 'see {this} in {root}'}")
    done = get("flickr8k", "--root", tmp_path / "data", "--sources", path)
    assert f"see {{this}} in {tmp_path / 'data'}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--mirror", "ftp://mirror"), "give an address of http or https, or a folder"),
        (("--mirror", "http://[::1"), "give an address of http or https, or a folder"),
        (("--mirror", "http://"), "give an address of http or https, or a folder"),
        (("--mirror", "http://host:x"), "give an address of http or https, or a folder"),
        (("--mirror", " "), "--mirror is empty"),
        (("--mirror", "http://me:secret@host"), "has no user's name and nothing after ? or #"),
        (("--mirror", "http://host/a?token=1"), "has no user's name and nothing after ? or #"),
        (("--mirror", "no-such-folder"), "has no file VOCtrainval_06-Nov-2007.tar"),
        (("--root", __file__), "is no folder"),
    ],
)
def test_places_that_are_none(tmp_path, arguments, message):
    root = () if "--root" in arguments else ("--root", tmp_path)
    assert message in str(get("voc2007", *root, *arguments).exception)


def test_an_unknown_name_and_a_bad_file_of_sources(tmp_path):
    assert "did you mean 'voc2007'" in str(get("voc20007", "--root", tmp_path).exception)
    path = tmp_path / "sources.yaml"
    for entry, message in (
        ({"url": "http://127.0.0.1:9/"}, "does not end in a file's name"),
        ({"url": "http://127.0.0.1:9/.."}, "does not end in a file's name"),
        ({"into": "../x"}, "is no folder below"),
        ({"sha256": "abc"}, "should match pattern"),
        ({"size": 3}, "'voc2007.files.0.size' is unknown"),
    ):
        file = {
            "url": "http://127.0.0.1:9/a.zip",
            "unpacked": 1,
            "into": ".",
            "gives": ["test"],
        } | entry
        path.write_text(yaml.safe_dump({"voc2007": {"advice": "", "files": [file]}}))
        assert message in str(get("voc2007", "--root", tmp_path, "--sources", path).exception)


def test_every_file_brings_a_part_that_is_checked(tmp_path):
    origins = read_sources()
    assert set(origins) == set(CHECKS)
    for name, origin in origins.items():
        parts = CHECKS[name](tmp_path)
        assert all(file.parts(parts) for file in origin.files)


def test_an_archive_may_be_kept(publisher, sources, tmp_path):
    get("captions_train2014", "--root", tmp_path, "--sources", sources, "--keep-archives")
    assert zipfile.is_zipfile(tmp_path / "archives/annotations_trainval2014.zip")
