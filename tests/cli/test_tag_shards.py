"""``tai-dpt tag`` of more images than one process has: tars, parts, and their merger."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from tai_dpt.io.lock import try_lock

from taggers import run, tagger_and_photos


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tagger_and_photos(tmp_path_factory.mktemp("desk"), 5)
    (folder / "photos" / "broken.jpg").write_text("text")
    for i in range(2):
        with tarfile.open(folder / f"photos-{i:02}.tar", "w") as tar:
            for image in sorted((folder / "photos").glob("*.png"))[2 * i : 2 * i + 2]:
                tar.add(image, f"day/{image.name}")
                label = tarfile.TarInfo(f"day/{image.stem}.cls")
                tar.addfile(label, io.BytesIO())
    return folder


def tag(desk: Path, *arguments: object):
    return run("tag", desk / "tagger", "--threshold", 0.3, *arguments)


def in_parts(desk: Path, count: int, out: Path, *arguments: object) -> None:
    for number in range(count):
        code, _, err = tag(desk, *arguments, "--out", out, "--shard", f"{number}/{count}")
        assert code in (0, 3), err


def told(path: Path) -> tuple[str, list[float]]:
    """A file of tags without its numbers, and those."""
    if path.suffix == ".parquet":
        text = str(pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist())
    else:
        text = path.read_text()
    number = r"-?\d+\.\d+(?:e-?\d+)?"
    return re.sub(number, "#", text), [float(value) for value in re.findall(number, text)]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "json"])
def test_the_parts_together_are_one_run(desk, tmp_path, ending):
    what = (desk / "photos", desk / "photos-00.tar")
    what += ("--format", "coco") if ending == "json" else ()
    one, merged = tmp_path / f"one.{ending}", tmp_path / f"tags.{ending}"
    tag(desk, *what, "--out", one)
    in_parts(desk, 3, merged, *what)
    code, said, _ = run("merge-tags", merged)
    assert code == 0 and "3 parts" in said
    (text, numbers), (expected, values) = told(merged), told(one)
    assert text == expected and numbers == pytest.approx(values, abs=1e-5)  # of other batches
    assert {p.name for p in tmp_path.glob("tags*")} == {
        merged.name, *(f"tags-{i}-of-3.{ending}" for i in range(3))
    }  # fmt: skip
    code, _, err = tag(desk, *what, desk / "photos-01.tar", "--out", merged, "--resume")
    assert code == 3 and "done already" in err


def test_a_tar_is_read_as_the_photos_in_it(desk, tmp_path, monkeypatch):
    monkeypatch.chdir(desk)
    code, out, err = tag(desk, "photos-{00..01}.tar", "--format", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    names = [f"photos-0{i // 2}.tar/day/{i}.png" for i in range(4)]
    assert code == 0 and [record["image"] for record in records] == names
    assert "left aside: 4 .cls" in err
    _, plain, _ = tag(desk, *(f"photos/{i}.png" for i in range(4)), "--format", "jsonl")
    assert [json.loads(line)["labels"] for line in plain.splitlines()] == [
        record["labels"] for record in records
    ]  # in the same batches
    in_parts(desk, 2, tmp_path / "tags.jsonl", "photos-*.tar")  # whole tars
    part = [json.loads(line)["image"] for line in (tmp_path / "tags-1-of-2.jsonl").open()]
    assert part == names[2:]
    code, _, err = tag(desk, "photos-00.tar", "--format", "xmp")
    assert code == 2 and "no place in photos-00.tar" in err
    tag(desk, "photos-00.tar", "--format", "coco", "--out", tmp_path / "tags.json")
    image = json.loads((tmp_path / "tags.json").read_text())["images"][0]
    assert (image["width"], image["height"]) == (90, 70)


def test_a_tar_without_photos_is_told_to_every_part(desk, tmp_path):
    with tarfile.open(tmp_path / "notes.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.txt"))
    for part in ("0/1", "1/2"):
        code, _, err = tag(
            desk, tmp_path / "notes.tar", "--shard", part, "--out", tmp_path / "tags.csv"
        )
        assert code == 2 and "no images in" in err and "left aside: 1 .txt" in err


def test_a_list_in_parquet(desk, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    paths = [str(desk / "photos" / f"{i}.png") for i in (3, 1)]
    listed = tmp_path / "list.parquet"
    parquet.write_table(pa.table({"id": ["a", "b"], "Path": paths}), listed)
    _, out, _ = tag(desk, "--list", listed, "--format", "jsonl")
    assert [json.loads(line)["image"] for line in out.splitlines()] == paths
    parquet.write_table(pa.table({"id": ["a", "b"], "place": paths}), listed)
    code, _, err = tag(desk, "--list", listed)
    assert code == 2 and "call it 'path'; columns of text: id, place" in err


def test_what_cannot_be_merged_says_why(desk, tmp_path):
    out = tmp_path / "tags.csv"

    def refused() -> str:
        code, _, err = run("merge-tags", out)
        assert code == 2 and err.count("\n") <= 1 and not out.exists()
        return err

    assert "there are no parts; wanted are all of one such as tags-0-of-4.csv" in refused()
    in_parts(desk, 2, out, desk / "photos")
    first, second = tmp_path / "tags-0-of-2.csv", tmp_path / "tags-1-of-2.csv"
    second.rename(tmp_path / "tags-1-of-2.csv.part")
    assert "1 of 2 parts are not finished: tags-1-of-2.csv; run 'tag --resume'" in refused()
    (tmp_path / "tags-1-of-2.csv.part").rename(second)
    with (tmp_path / ".tags-1-of-2.csv.made-by.json").open("a+b") as busy:
        try_lock(busy)
        assert f"another process is writing {second}" in refused()
    whole = second.read_bytes()
    second.write_bytes(first.read_bytes())
    assert "is in tags-0-of-2.csv and in tags-1-of-2.csv" in refused()
    second.write_text("x" * 200_000)
    assert f"{second}: not valid CSV: field larger than" in refused()
    second.write_bytes(whole)
    maker = tmp_path / ".tags-1-of-2.csv.made-by.json"
    made_by = maker.read_text()
    for text, message in (
        ("null", "it should be an object, not null; tag this part anew"),
        ('{"--shard": "1/2"}', "it lacks '--format'"),
        ('{"--shard": "1/2", "--format": 5}', "'--format' should be 'csv'"),
        (made_by.replace("1/2", "0/2"), "was written as part 0/2, not 1/2; tag this part anew"),
    ):
        maker.write_text(text)
        assert message in refused()
    maker.write_text(made_by)
    tag(desk, desk / "photos", "--top", 1, "--out", out, "--shard", "1/2", "--overwrite")
    assert "differ in --top" in refused()
    tag(desk, desk / "photos-00.tar", "--out", out, "--shard", "1/2", "--overwrite")
    assert "differ in the images" in refused()
    (tmp_path / "tags-0-of-3.csv").write_text("")
    assert "there are parts of 2 and of 3" in refused()


def test_a_part_goes_on_with_the_same_images_only(desk, tmp_path):
    where = ("--out", tmp_path / "tags.csv", "--shard", "0/2", "--resume")
    tag(desk, desk / "photos", *where)
    assert tag(desk, desk / "photos", *where)[0] == 0
    code, _, err = tag(desk, desk / "photos", desk / "photos-00.tar", *where)
    assert code == 2 and "was written with other images" in err


def test_torchrun_says_which_part(desk, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    code, _, err = tag(desk, desk / "photos")
    assert code == 2 and "2 processes would share one output" in err
    # torchrun ends the others where one says more than 0
    code, _, err = tag(desk, desk / "photos", "--out", tmp_path / "tags.csv")
    assert code == 0 and "part 1/2 of the images, as RANK and WORLD_SIZE" in err
    assert (tmp_path / "tags-1-of-2.csv").exists()


@pytest.mark.parametrize("shard", ["4/4", "1", "-1/2", "1/0", "a/b"])
def test_a_shard_that_is_none(desk, shard):
    code, _, err = tag(desk, desk / "photos", "--shard", shard)
    assert code == 2 and "write 0/4, 1/4, 2/4 and 3/4 for four parts" in err
