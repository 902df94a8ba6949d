"""Caption files of every format, labels with them, and the cache of both."""

import json

import numpy as np
import pytest
from shell_pipes import handed_over, needs_pipes

from tai_dpt.datasets.corpora import (
    FORMATS,
    LabelledCorpus,
    label_corpus,
    limit_per_class,
    load_corpus,
    read_captions,
    read_labels,
)
from tai_dpt.errors import InputError
from tai_dpt.labels import NounFilter
from tai_dpt.labels.vocabulary import Vocabulary

CAPTIONS = ["A cat, on a mat.", "Two “dogs”", "Café table"]
NAMED = [("a.jpg", CAPTIONS[0]), ("a.jpg", CAPTIONS[1]), ("b.jpg", CAPTIONS[2])]


def _json(text):
    return json.dumps(text, ensure_ascii=False)


def _contents():
    coco = [{"image_id": image, "id": i, "caption": c} for i, (image, c) in enumerate(NAMED)]
    grouped = [("a.jpg", CAPTIONS[:2]), ("b.jpg", CAPTIONS[2])]
    karpathy = [
        {"filename": "a.jpg", "split": "train", "sentences": [{"raw": c} for c in CAPTIONS[:2]]},
        {"filename": "b.jpg", "split": "train", "sentences": [{"raw": CAPTIONS[2], "tokens": []}]},
    ]
    lines = [_json({"image_id": image, "caption": c}) for image, c in NAMED]
    table = [f'{image},"{c}"' for image, c in NAMED]
    token = [f"{image}#{i}\t{c}" for i, (image, c) in enumerate(NAMED)]
    results = [f"{image}| {i}| {c}" for i, (image, c) in enumerate(NAMED)]
    return {
        "captions_train.json": ("coco", [_json({"annotations": coco})]),
        "plain.txt": ("text", CAPTIONS),
        "splits.json": ("karpathy", [_json({"images": karpathy})]),
        "list.json": ("blip", [_json([{"image": i, "caption": c} for i, c in NAMED])]),
        "grouped.json": ("blip", [_json([{"image": i, "caption": c} for i, c in grouped])]),
        "sbu.json": ("columns", [_json({"urls": ["http://a"], "captions": CAPTIONS})]),
        "by_image.json": ("by_image", ["{", _json(dict(grouped))[1:-1], "}"]),
        "lines.jsonl": ("jsonl", lines),
        "lines_called.json": ("jsonl", lines),
        "narratives.jsonl": ("localized_narratives", lines),
        "table.csv": ("csv", ["image,caption", *table]),
        "excel.csv": ("csv", ["sep=,", "image,caption", *table]),
        "captions.txt": ("csv", ["image,caption", *table]),  # Flickr8k as Kaggle has it
        "table.tsv": ("tsv", ["image\tcaption", *("\t".join(row) for row in NAMED)]),
        "Flickr8k.token.txt": ("flickr", token),
        "results_20130124.token": ("flickr", token),
        "results.csv": ("flickr", ["image_name| comment_number| comment", *results]),
    }


def test_what_is_no_text_in_a_list_of_captions_is_named(tmp_path):
    (tmp_path / "sbu.json").write_text(_json({"captions": ["a dog", 3]}))
    with pytest.raises(InputError, match="caption 1: 3 is not text"):
        read_captions(tmp_path / "sbu.json")


@pytest.mark.parametrize("name", _contents())
@pytest.mark.parametrize(("bom", "end"), [("", "\n"), ("\ufeff", "\r\n"), ("", "\r")])
def test_every_format(tmp_path, name, bom, end):
    format, lines = _contents()[name]
    path = tmp_path / name
    path.write_bytes((bom + end.join(lines) + end).encode())
    assert read_captions(path, format=format) == CAPTIONS
    assert read_captions(path) == CAPTIONS
    if format not in ("text", "columns"):
        assert read_captions(path, one_per_image=True) == [CAPTIONS[0], CAPTIONS[2]]
    else:
        with pytest.raises(InputError, match="names images"):
            read_captions(path, one_per_image=True)


def test_formats_are_all_tried_here():
    binary = {"parquet"}  # see test_large_corpora.py
    assert set(FORMATS) - binary == {format for format, _ in _contents().values()}


def test_fields(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"said": "a dog"}\n')
    assert read_captions(path, field="said") == read_captions(path, field="Said") == ["a dog"]
    with pytest.raises(InputError, match=r"a\.jsonl, line 1: no field 'caption'; it has: said"):
        read_captions(path)
    table = tmp_path / "a.tsv"
    table.write_text("a dog\thttp://x\na cat\thttp://y\n")
    assert read_captions(table, field=0) == ["a dog", "a cat"]
    with pytest.raises(InputError, match="no column 'caption'; the first line has: a dog"):
        read_captions(table)
    with pytest.raises(InputError, match="no column number 2; there are 2"):
        read_captions(table, field=2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"annotations": [{"caption": "a do', "line 1 column 30"),
        ("a.json", '{"annotations": [', "is the file whole?"),
        ("a.json", '{"a.jpg": 3}', "known are COCO's"),
        ("a.json", "[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("a.json", '[{"caption": ' + "9" * 5000 + "}]", "not valid JSON: a number of thousands"),
        ("a.jsonl", '{"caption": "x"}\n{"caption": "a \\ud83d dog"}\n', "line 2: \\ud83d is half"),
        ("a.jsonl", '{"caption": "x"}\n' + "[" * 100_000, "line 2: not valid JSON: it is nested"),
        ("a.jsonl", '{"caption": ' + "9" * 5000 + "}", "line 1: not valid JSON"),
        ("a.jsonl", '{"caption": "a d\\u0000og"}', "line 1: not text, it has zero bytes"),
        (
            "a.jsonl",
            '{"caption": "a", "caption": "b"}',
            "line 1: not valid JSON: the key 'caption'",
        ),
        ("a.json", '[{"caption": "x"}, {"caption": "\\udcff"}]', "entry 1: \\udcff is half"),
        ("a.json", '[{"caption": "x"}, 3]', "entry 1: a JSON object is needed, this is a number"),
        ("a.json", '{"images": [{"sentences": [{"raw": 3}]}]}', "image 0, sentence 0: field 'raw'"),
        ("a.csv", "caption,url,caption\na,b,c\n", "2 columns are called caption, caption"),
        ("a.csv", "Caption,CAPTION\na,b\n", "2 columns are called Caption, CAPTION"),
        ("a.jsonl", '{"Caption": "a", "CAPTION": "b"}\n', "fields 'Caption' and 'CAPTION'"),
        ("a.txt", "a dog\n" + "x" * 10_000_000, "line 2: 10,000,000 characters"),
        ("a.json", '{\n"images": [], "categories": []}', "has: images, categories"),
        ("a.json", '{"annotations": [{"bbox": [], "id": 3}]}', "annotation 0: no field 'caption'"),
        ("a.jsonl", '{"caption": "x"}\n{"caption": 3}', "line 2: field 'caption' is 3, not text"),
        ("a.jsonl", '{"caption": "x"}\n[1]\n', "line 2: a JSON object is needed"),
        ("a.jsonl", '{"caption": "x"}\n\n{"capt', "line 3: not valid JSON"),
        ("a.jsonl", '{"annotations": []}', "read it as format 'coco'"),
        ("a.csv", "image,caption\na,b\nc\n", "line 3: 1 columns where the first line has 2"),
        ("a.csv", 'image,caption\na,"b\nc\n', "line 2: not valid CSV: a quote is opened"),
        ("a.token", "a.jpg a dog\n", "line 1: not 'image.jpg#0<tab>caption'"),
        ("a.txt", '{"caption": "x"}', "this is JSON, not plain text"),
        ("a.txt", "", "a.txt is empty"),
        ("a.txt", "\n  \n", "no captions in it"),
        ("a.txt", "\x7fELF\0\0", "zero bytes"),
        ("a.csv", "PK\x03\x04\0\0", "a.csv is a zip archive or a workbook of Excel, not text"),
        ("a.gz", "a dog", "cannot unpack"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_captions(path)
    assert message in str(error.value)
    assert name in str(error.value)


def test_bad_lines_can_be_skipped_and_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"caption": "a dog"}\n{"capt\n[]\n{"caption": "a cat"}\n')
    with pytest.warns(UserWarning, match="skipped 2 bad lines, the first: line 2, not valid JSON"):
        assert read_captions(path, on_bad_line="skip") == ["a dog", "a cat"]
    path.write_text('{"capt\n')
    with pytest.raises(InputError, match=r"no captions in it.*skipped 1 bad line"):
        read_captions(path, on_bad_line="skip")


def test_a_quote_that_is_not_closed_costs_its_line_and_no_other(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{i}.jpg,a dog" for i in range(1000)]
    rows[7] = '7.jpg,"a dog'
    path.write_text("\n".join(["image,caption", *rows]))
    with pytest.warns(UserWarning, match="skipped 1 bad line: line 9, not valid CSV: a quote"):
        assert len(read_captions(path, on_bad_line="skip")) == 999
    quoted = [f'{i}.jpg,"a dog, and\na cat"' for i in range(20)]
    quoted[7] = '7.jpg,"a dog'
    path.write_text("\n".join(["image,caption", *quoted]))
    with pytest.warns(UserWarning, match="skipped 1 bad line: line 16"):
        assert read_captions(path, on_bad_line="skip") == ["a dog, and\na cat"] * 19


def test_a_file_that_is_mostly_bad_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("image,caption\na,b\n" + "c\n" * 3)
    with pytest.raises(InputError, match=r"skipped 3 bad lines.*more than half of it: is it csv"):
        read_captions(path, on_bad_line="skip")


def test_a_lone_surrogate_can_be_skipped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"caption": "a \\ud83d dog"}\n{"caption": "a cat \\ud83d\\ude00"}\n')
    with pytest.warns(UserWarning, match=r"skipped 1 bad line: line 1, \\ud83d is half"):
        assert read_captions(path, on_bad_line="skip") == ["a cat \U0001f600"]


def test_lists_of_texts_and_splits(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('["a dog", "a cat"]')
    assert read_captions(path) == ["a dog", "a cat"]
    images = [
        {"split": split, "sentences": [{"raw": split}]} for split in ("train", "test", "test")
    ]
    path.write_text(json.dumps({"images": images}))
    with pytest.warns(UserWarning, match=r"all its splits are read \(images: train 1, test 2\)"):
        assert read_captions(path) == ["train", "test", "test"]


@needs_pipes
@pytest.mark.parametrize("content", ["a dog\na cat\n", '["a dog", "a cat"]'])
def test_a_pipe_is_opened_once(content):
    with handed_over(content) as path:
        corpus = load_corpus([path], NounFilter(vocabulary=Vocabulary(("dog", "cat"))))
    assert corpus.texts == ["a dog", "a cat"]


def test_labels_come_from_what_is_encoded():
    captions = ["word " * 74 + "dog", "word " * 75 + "dog", "word " * 80 + "dog and a cat"]
    vocabulary = Vocabulary(("dog", "cat", "word"))
    labels = [found for _, found in read_labels(captions, NounFilter(vocabulary=vocabulary))]
    assert labels == [(0, 2), (2,), (2,)]
    with pytest.warns(UserWarning, match=r"1 of 2 classes have no caption: cat \(no 'cat'\)"):
        label_corpus(captions, NounFilter(vocabulary=Vocabulary(("dog", "cat"))))


def test_other_trouble(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_captions(tmp_path / "none.txt")
    with pytest.raises(InputError, match="is a folder"):
        read_captions(tmp_path)
    path = tmp_path / "a.txt"
    path.write_bytes("a dog\na caf\u00e9\n".encode("latin1"))
    with pytest.raises(InputError, match=r"byte 11 \(line 2\).*iconv"):
        read_captions(path)
    with pytest.raises(InputError, match="did you mean 'coco'"):
        read_captions(path, format="cocos")
    with pytest.raises(InputError, match="valid: error, skip"):
        read_captions(path, on_bad_line="ignore")


VOCABULARY = Vocabulary(("dog", "cat", "bird"))


def test_label_corpus():
    captions = ["a dog", "nothing", "a cat and a dog", "void"]
    with pytest.warns(UserWarning, match="1 of 3 classes have no caption: bird"):
        corpus = label_corpus(captions, NounFilter(vocabulary=VOCABULARY))
    assert corpus.texts == ["a dog", "a cat and a dog"]
    assert corpus.labels.toarray().tolist() == [[1, 0, 0], [1, 1, 0]]
    assert corpus.dropped == 2
    assert corpus.per_class_counts.tolist() == [2, 1, 0]
    with pytest.raises(InputError, match="none of the 1 captions names any of the 3 classes"):
        label_corpus(["nothing"], NounFilter(vocabulary=VOCABULARY))


def test_limit_files_each_caption_under_its_rarest_class():
    generator = np.random.default_rng(0)
    labels = (generator.random((200, 4)) < [0.9, 0.5, 0.2, 0.05]).astype(np.uint8)
    labels[:, 0] |= ~labels.any(axis=1)
    corpus = LabelledCorpus([str(i) for i in range(200)], labels)
    order = np.argsort(corpus.per_class_counts, kind="stable").tolist()
    filed = {index: [] for index in order}
    for row, names in enumerate(labels):
        filed[next(index for index in order if names[index])].append(row)
    expected = sorted(row for rows in filed.values() for row in rows[:15])
    limited = limit_per_class(corpus, 15)
    assert limited.texts == [str(row) for row in expected]
    assert (limited.labels.toarray() == labels[expected]).all()
    assert limited.dropped == 200 - len(expected)
    assert limited.naming_none == 0
    with pytest.raises(InputError, match="at least 1"):
        limit_per_class(corpus, 0)


def test_cache(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text('{"caption": "a dög and a dog"}\nbad\n{"caption": "one bird, two cats"}\n')
    folder = tmp_path / "cache"
    options = {"on_bad_line": "skip", "cache_folder": folder}
    noun_filter = NounFilter(vocabulary=VOCABULARY)
    with pytest.warns(UserWarning, match="skipped 1 bad line"):
        first = load_corpus([path], noun_filter, **options)
    (entry,) = (folder / "corpora").iterdir()

    def same(corpus):
        return corpus.texts == first.texts and (corpus.labels != first.labels).nnz == 0

    with monkeypatch.context() as patch:
        patch.setattr("tai_dpt.datasets.corpora.cache.stream_captions", None)  # not read again
        with pytest.warns(UserWarning, match="skipped 1 bad line"):
            assert same(load_corpus([path], noun_filter, **options))

    whole = entry.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:200] + b"x" * 20 + whole[220:]):
        entry.write_bytes(damaged)
        with pytest.warns(UserWarning, match="skipped 1 bad line"):
            assert same(load_corpus([path], noun_filter, **options))
        assert entry.read_bytes() == whole

    other = NounFilter(vocabulary=Vocabulary(("dog", "cat", "bird"), (("hound",), (), ())))
    with pytest.warns(UserWarning, match="skipped"):
        load_corpus([path], other, **options)
    assert len(list((folder / "corpora").iterdir())) == 2


def test_several_files_and_missing_ones(tmp_path):
    for name, text in (("a.txt", "a dog\n"), ("b.txt", "a cat\na bird\n")):
        (tmp_path / name).write_text(text)
    noun_filter = NounFilter(vocabulary=VOCABULARY)
    corpus = load_corpus([tmp_path / "a.txt", tmp_path / "b.txt"], noun_filter)
    assert corpus.texts == ["a dog", "a cat", "a bird"]
    with pytest.raises(InputError, match="no such caption file"):
        load_corpus([tmp_path / "c.txt"], noun_filter)
    with pytest.raises(InputError, match="no caption files"):
        load_corpus([], noun_filter)
