"""Corpora that are too large for a list: streamed, labelled by several processes, sampled."""

from __future__ import annotations

import gzip
import itertools
import random
from collections import Counter

import numpy as np
import pytest

from tai_dpt.backbones.tokenizers import CLIPS_OWN
from tai_dpt.datasets.corpora import label_corpus, load_corpus, parallel, read_captions, read_labels
from tai_dpt.datasets.corpora.readers import stream_captions
from tai_dpt.datasets.corpora.sampling import CaptionSample, Keep
from tai_dpt.errors import InputError
from tai_dpt.labels import NounFilter
from tai_dpt.labels.vocabulary import Vocabulary

THINGS = ("dog", "cat", "bird", "car")
FILTER = NounFilter(vocabulary=Vocabulary(THINGS))


def _captions(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    words = [*THINGS, "sky", "tree"]
    return [f"a {draw.choice(words)} and a {draw.choice(words)}, {i}" for i in range(count)]


def test_several_processes_give_what_one_gives(monkeypatch):
    monkeypatch.setattr(parallel, "_ALONE", 100)
    monkeypatch.setattr(parallel, "_AT_ONCE", 64)
    captions = _captions(1000)
    alone = list(read_labels(captions, FILTER))
    assert list(parallel.labelled(captions, FILTER, CLIPS_OWN, workers=3)) == alone


def test_they_read_no_further_ahead_than_they_must(monkeypatch):
    monkeypatch.setattr(parallel, "_ALONE", 10)
    monkeypatch.setattr(parallel, "_AT_ONCE", 10)
    endless = (f"a dog, {i}" for i in itertools.count())
    found = parallel.labelled(endless, FILTER, CLIPS_OWN, workers=2)
    assert [classes for _, classes in itertools.islice(found, 300)] == [(0,)] * 300
    found.close()
    assert int(next(endless).rpartition(" ")[2]) < 300 + 10 * (2 * parallel._AHEAD + 2)


def test_a_readers_error_comes_through(monkeypatch, tmp_path):
    monkeypatch.setattr(parallel, "_ALONE", 10)
    monkeypatch.setattr(parallel, "_AT_ONCE", 10)
    path = tmp_path / "a.jsonl"
    path.write_text('{"caption": "a dog"}\n' * 50 + "bad\n")
    with pytest.raises(InputError, match="line 51"):
        load_corpus([path], FILTER)


def test_a_sample_is_the_same_in_any_order():
    captions = _captions(3000)
    keep = Keep(per_class=20, seed=3)
    first = label_corpus(captions, FILTER, keep=keep)
    again = label_corpus(random.Random(1).sample(captions, len(captions)), FILTER, keep=keep)
    assert first.texts == again.texts
    assert (first.labels != again.labels).nnz == 0
    assert first.dropped == len(captions) - len(first)
    assert (first.per_class_counts >= 20).all()
    other = label_corpus(captions, FILTER, keep=Keep(per_class=20, seed=4))
    assert set(other.texts) != set(first.texts)


def test_a_sample_is_what_sorting_everything_gives():
    sample = CaptionSample(classes=3, limit=5, seed=1)
    draw = random.Random(0)
    texts = [f"text {draw.randrange(150)}" for _ in range(400)]
    classes = {text: tuple(sorted({draw.randrange(3), draw.randrange(3)})) for text in texts}
    for text in texts:
        sample.add(text, classes[text])
    everything = CaptionSample(classes=3, limit=10_000, seed=1)
    for text in classes:
        everything.add(text, classes[text])
    counts: Counter[int] = Counter()
    expected = []
    for text, found in everything:  # the smallest hashes first
        if any(counts[index] < 5 for index in found):
            expected.append(text)
        counts.update(found)
    assert [text for text, _ in sample] == expected


def test_a_sample_is_uniform():
    hits: Counter[str] = Counter()
    for seed in range(400):
        sample = CaptionSample(classes=1, limit=5, seed=seed)
        for text in map(str, range(20)):
            sample.add(text, (0,))
        hits.update(text for text, _ in sample)
    share = np.array([hits[str(i)] for i in range(20)]) / 400
    assert np.abs(share - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 400)


def test_repeated_texts_are_kept_once():
    captions = ["a dog", "a cat", "a dog", "void", "a cat", "a bird", "a car"]
    once = label_corpus(captions, FILTER, keep=Keep(drop_duplicates=True))
    assert once.texts == ["a dog", "a cat", "a bird", "a car"]
    assert once.dropped == 3
    sampled = label_corpus(captions, FILTER, keep=Keep(per_class=10))
    assert sorted(sampled.texts) == sorted(once.texts)


@pytest.mark.parametrize("keep", [Keep(per_class=5), Keep(drop_duplicates=True)])
def test_what_is_left_out_is_not_counted_as_naming_none(keep, tmp_path):
    captions = [*_captions(300), *_captions(200)]
    whole = label_corpus(captions, FILTER)
    assert whole.naming_none == whole.dropped == len(captions) - len(whole) > 0
    path = tmp_path / "captions.txt"
    path.write_text("\n".join(captions))
    for _ in range(2):  # read, and from the cache
        some = load_corpus([path], FILTER, keep=keep, cache_folder=tmp_path / "cache")
        assert len(some) + some.dropped == len(captions)
        assert some.naming_none == whole.naming_none
        assert some.naming_share == whole.naming_share == len(whole) / len(captions)
        assert some.cardinality == whole.cardinality == whole.per_caption_counts.mean()
    assert some.subset([0]).naming_share == whole.naming_share
    assert some.subset([0]).cardinality == whole.cardinality
    assert some.of_classes([0, 1]).dropped_labels.tolist() == some.dropped_labels[:2].tolist()
    ours = whole.of_classes([0])
    assert ours.naming_none == len(captions) - len(ours)


def test_files_are_read_as_they_come(tmp_path):
    path = tmp_path / "captions.txt.gz"
    with gzip.open(path, "wb") as stream:
        stream.writelines(f"caption {i}\n".encode() for i in range(1000))
        stream.write(b"\xff")  # not UTF-8: only who reads so far can know
    captions = stream_captions(path, notes=[])
    assert next(captions) == "caption 0"
    with pytest.raises(InputError, match="not UTF-8"):
        list(captions)


def test_a_pattern_stands_for_files(tmp_path):
    for part in (2, 0, 1):
        (tmp_path / f"part-{part}.txt").write_text(f"a {THINGS[part]}\na car\n")
    corpus = load_corpus([tmp_path / "part-*.txt"], FILTER)
    assert corpus.texts[::2] == ["a dog", "a cat", "a bird"]
    with pytest.raises(InputError, match="no caption file matches"):
        load_corpus([tmp_path / "nothing-*.txt"], FILTER)


def test_zstd(tmp_path):
    zstandard = pytest.importorskip("zstandard")
    path = tmp_path / "captions.jsonl.zst"
    path.write_bytes(zstandard.compress(b'{"caption": "a dog"}\n{"caption": "a cat"}\n'))
    assert read_captions(path) == ["a dog", "a cat"]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="whole"):
        read_captions(path)
    path.write_bytes(b"no zstd")
    with pytest.raises(InputError, match="cannot unpack"):
        read_captions(path)


def test_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "captions.parquet"
    columns = {"image_id": [1, 1, 2], "Caption": ["a dog", None, "a cat"], "size": [3, 4, 5]}
    parquet.write_table(arrow.table(columns), path)
    assert read_captions(path) == ["a dog", "a cat"]
    assert read_captions(path, field=1, format="parquet") == ["a dog", "a cat"]
    assert read_captions(path, one_per_image=True) == ["a dog", "a cat"]
    with pytest.raises(InputError, match="row 0: column 'size' is 3, not text"):
        read_captions(path, field="size")
    lists = tmp_path / "lists.parquet"  # as in JSON lines
    parquet.write_table(arrow.table({"captions": [["a dog", "two dogs"], [], ["a cat"]]}), lists)
    assert read_captions(lists) == ["a dog", "two dogs", "a cat"]
    with pytest.raises(InputError, match=r"no column 'title'; .*has: image_id, Caption, size"):
        read_captions(path, field="title")
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole.replace(b"a dog", b"a \xff\xffg")):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"cannot read .* as Parquet: .* is it whole\?"):
            read_captions(path)
