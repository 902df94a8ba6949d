"""The noun filter: what counts as a class's word, and what does not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tai_dpt.errors import InputError
from tai_dpt.labels import NounFilter, singular
from tai_dpt.labels.class_lists import load_vocabulary
from tai_dpt.labels.vocabulary import Vocabulary

from places import TESTS

COCO = load_vocabulary("coco2014")
COCO_FILTER = NounFilter(vocabulary=COCO)


PLURALS = """
men man, women woman, people person, children child, firemen fireman, mice mouse, knives knife,
sheep sheep, geese goose, teeth tooth, buses bus, benches bench, boxes box, glasses glass,
houses house, horses horse, vases vase, couches couch, dishes dish, parties party, puppies puppy,
ties tie, tomatoes tomato, shoes shoe, skis ski, taxis taxi, leaves leaf, gloves glove,
donuts donut, scissors scissors, glass glass, bus bus, tennis tennis, gas gas, tvs tv,
specimen specimen
"""


@pytest.mark.parametrize("pair", [pair.strip() for pair in PLURALS.split(",")])
def test_singular(pair):
    plural, expected = pair.split()
    assert singular(plural) == expected
    assert singular(expected) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Two men and three women wait.", ["person"]),
        ("Knives, forks & mice!", ["fork", "knife", "mouse"]),
        ("A pair of skis beside scissors", ["skis", "scissors"]),
        ("A hot dog and a teddy bear.", ["hot dog", "teddy bear"]),
        ("a fire-hydrant next to a motorbike", ["motor bike", "fire hydrant"]),
        ("a toddler by a sedan", ["person", "car"]),
        ("a skier", ["person", "skis"]),
        ("a tennis player swings her racquet", ["person", "tennis racket"]),
        ("glass of red wine", ["wine glass"]),
        ("a man in an orange shirt", ["person"]),
        ("an orange and white cat", ["cat"]),
        ("oranges in a bowl, an orange", ["bowl", "orange"]),
        ("The road bears right at the bridge", []),
        ("two bears right next to a truck", ["truck", "bear"]),
        ("Call to book a table", ["dining table"]),
        ("a book on a table", ["dining table", "book"]),
        ("a baby elephant", ["elephant"]),
        ("a baseball team", []),
        ("A MAN'S HAT", ["person"]),
        ("nothing here ...", []),
        ("", []),
    ],
)
def test_default_preset(caption, expected):
    assert [COCO.names[i] for i in COCO_FILTER.labels([caption])[0]] == expected


def test_longest_match_uses_each_stretch_once():
    vocabulary = Vocabulary.from_names(["bear", "teddy bear", "bear cub"])
    label = NounFilter(vocabulary=vocabulary).labels
    assert label(["a teddy bear"]) == [(1,)]
    assert label(["a teddy bear and a bear"]) == [(0, 1)]
    assert label(["teddy bear cub"]) == [(1,)]  # equally long: the one to the left


def test_user_vocabulary_has_inflections():
    vocabulary = Vocabulary.from_names({"birds": [], "wine glass": ["goblet"]})
    assert NounFilter(vocabulary=vocabulary).labels(
        ["one bird", "three birds", "wine glasses and goblets"]
    ) == [(0,), (0,), (1,)]


@given(st.lists(st.text(max_size=40), max_size=5))
def test_any_text_is_read_alone_and_the_same_each_time(captions):
    labels = COCO_FILTER.labels(captions)
    assert labels == COCO_FILTER.labels(captions)
    assert labels == [COCO_FILTER.labels([caption])[0] for caption in captions]
    assert all(list(found) == sorted(set(found)) for found in labels)


@given(st.permutations(["a dog", "two cats", "some buses", "a pizza"]))
def test_order_of_the_nouns_does_not_matter(parts):
    expected = tuple(sorted(COCO.names.index(n) for n in ("dog", "cat", "bus", "pizza")))
    assert COCO_FILTER.labels([" and ".join(parts)]) == [expected]


def test_lemmatizer_function_and_max_tokens():
    vocabulary = Vocabulary.from_names(["dog", "cat"])
    shout = NounFilter(vocabulary=vocabulary, lemmatizer=lambda word: word.removesuffix("zz"))
    assert shout.labels(["dogzz"]) == [(0,)]
    with pytest.raises(InputError, match="cannot be cached"):
        shout.fingerprint()
    short = NounFilter(vocabulary=vocabulary, max_tokens=3)
    assert short.labels(["a dog and a cat"]) == [(0,)]


def test_bad_choices():
    for option, message in (
        ({"preset": "papers"}, "did you mean 'paper'"),
        ({"lemmatizer": "nltkk"}, "did you mean 'nltk'"),
        ({"max_tokens": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            NounFilter(vocabulary=COCO, **option)
    with pytest.raises(InputError, match="list of texts"):
        NounFilter(vocabulary=COCO).labels("a dog")


def test_paper_preset_without_nltk_is_an_approximation_and_says_so():
    with pytest.warns(UserWarning, match="approximation"):
        noun_filter = NounFilter(vocabulary=COCO, preset="paper", lemmatizer="builtin")
    found = noun_filter.labels(["a motorbike, a teddy bear and a dog's bowl.", "a toddler"])
    assert [[COCO.names[i] for i in labels] for labels in found] == [
        ["motor bike", "dog", "bowl", "teddy bear"],
        [],
    ]


@pytest.fixture
def nltk_filter():
    pytest.importorskip("nltk")
    try:
        return NounFilter(vocabulary=COCO, preset="paper")
    except InputError:
        pytest.skip("NLTK's data are not installed")


def test_paper_preset_reads_as_the_public_pipeline(nltk_filter):
    words = [
        ("several men on a bench", ["bench"]),  # its lemmatiser leaves "men" as it is
        ("women skiing", ["person", "skis"]),
        ("teddy bear teddy bear", ["bear", "teddy bear"]),  # replacing eats the space between
        ("an orange shirt", ["orange"]),
    ]
    for caption, expected in words:
        found = nltk_filter.labels([caption])[0]
        assert [COCO.names[i] for i in found] == expected


def test_missing_nltk_data_says_what_to_download(monkeypatch):
    nltk = pytest.importorskip("nltk")
    from tai_dpt.labels import wordnet

    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(nltk, "word_tokenize", nltk.data.find)
    with pytest.raises(
        InputError, match=r"python -m nltk.downloader punkt_tab averaged_p\w+ wordnet"
    ):
        wordnet.tokenizer()


def test_figures_on_human_captions():
    path = TESTS / "samples/coco_captions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = NounFilter(vocabulary=COCO).labels([row["caption"] for row in rows])
    right = sum(len(set(f) & set(r["labels"])) for f, r in zip(found, rows, strict=True))
    precision = right / sum(map(len, found))
    recall = right / sum(len(row["labels"]) for row in rows)
    assert precision > 0.935
    assert 2 * precision * recall / (precision + recall) > 0.63
