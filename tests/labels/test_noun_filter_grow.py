"""Vocabularies that grow: needs NLTK and its WordNet."""

import json
from types import SimpleNamespace

import pytest

from tai_dpt.cli.grow_vocabulary import read_evidence
from tai_dpt.errors import InputError
from tai_dpt.labels import NounFilter
from tai_dpt.labels.class_list_yaml import to_yaml
from tai_dpt.labels.class_lists import VOCABULARIES, load_vocabulary
from tai_dpt.labels.evidence import (
    Evidence,
    earn_implied,
    earn_stop_list,
    in_terms_of,
)
from tai_dpt.labels.grow import grow, with_growth
from tai_dpt.labels.lexicon import present_participles
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.labels.wordnet import has_wordnet

needs_wordnet = pytest.mark.skipif(not has_wordnet(), reason="WordNet is not installed")


def test_participles():
    assert "skating" in present_participles("skate")
    assert "jogging" in present_participles("jog")
    assert present_participles("ski") == ["skiing"]
    assert present_participles("canoe") == ["canoeing"]


@pytest.fixture(scope="module")
def grown():
    lines = []
    vocabulary = Vocabulary(
        ("animal", "dog", "kite", "bus", "skis"),
        senses=("", "", "kite.n.03", "none", "ski.n.01"),
        stop=((), ("pug",), (), (), ()),
    )
    return grow(vocabulary, report=lines.append), lines


@needs_wordnet
def test_words_go_to_the_narrowest_class(grown):
    vocabulary, _ = grown
    assert "poodle" in vocabulary.grown[1]
    assert "poodle" not in vocabulary.grown[0]
    assert "horse" in vocabulary.grown[0]
    assert "pug" not in vocabulary.grown[1]
    assert vocabulary.grown[3] == ()
    assert "skiing" in vocabulary.grown[4]
    assert "skier" not in vocabulary.grown[4]
    assert "ski jumping" in vocabulary.blocked
    assert "cross-country skiing" not in vocabulary.blocked


@needs_wordnet
def test_the_sense_is_chosen_and_reported(grown):
    vocabulary, lines = grown
    assert vocabulary.senses == ("animal.n.01", "dog.n.01", "kite.n.03", "none", "ski.n.01")
    assert any("kite.n.03 (plaything" in line for line in lines)
    assert any(line == "bus: no sense, not grown" for line in lines)


@needs_wordnet
def test_grown_vocabulary_survives_its_file(grown, tmp_path):
    vocabulary, _ = grown
    path = tmp_path / "grown.yaml"
    path.write_text(to_yaml([{"name": name} for name in vocabulary.names], vocabulary))
    assert Vocabulary.from_file(path).fingerprint() == vocabulary.fingerprint()
    assert with_growth(vocabulary, wanted=True, report=print) is vocabulary


@needs_wordnet
def test_unknown_sense():
    with pytest.raises(InputError, match=r"no sense 'dog\.n\.99'"):
        grow(Vocabulary(("dog",), senses=("dog.n.99",)))


@needs_wordnet
def test_things_get_no_words_for_people():
    names = ("dog", "tie", "necklace", "uniform", "wheelchair", "baseball bat", "person")
    vocabulary = grow(Vocabulary(names))
    people = set(vocabulary.grown[6])
    assert {"batter", "woman", "occupant", "member"} <= people
    for words in vocabulary.grown[:6]:
        assert not people & set(words)
    captions = ["a man on a bench", "a woman at a table", "the member of a club", "an occupant"]
    assert NounFilter(vocabulary=vocabulary).labels(captions) == [(6,)] * 4


@needs_wordnet
def test_words_that_are_often_people_are_no_things_and_a_glove_is_no_game():
    vocabulary = grow(Vocabulary(("train", "animal", "glove", "tennis racket")))
    assert "commuter" not in vocabulary.grown[0] and "streamliner" in vocabulary.grown[0]
    assert not {"male", "queen"} & set(vocabulary.grown[1])
    assert not {"baseball", "baseball bat"} & set(vocabulary.grown[2])
    assert "tennis" in vocabulary.grown[3]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_no_thing_that_ships_has_a_word_for_people(name):
    vocabulary = load_vocabulary(name)
    person = vocabulary.names.index("person")
    people = set(vocabulary.grown[person])
    for index, words in enumerate(vocabulary.grown):
        if index != person and not vocabulary.senses[index].startswith(("soldier", "police")):
            assert not people & set(words)
            assert not {"commuter", "male", "female", "queen"} & set(words)


def test_growth_is_off_unless_asked_for_and_says_so():
    lines = []
    vocabulary = Vocabulary(("dog",))
    assert with_growth(vocabulary, wanted=False, report=lines.append) is vocabulary
    assert len(lines) == 1
    assert "--grow" in lines[0]


def test_growth_without_wordnet_is_an_error(monkeypatch):
    def ensure_loaded():
        raise LookupError

    monkeypatch.setattr("nltk.corpus.wordnet", SimpleNamespace(ensure_loaded=ensure_loaded))
    with pytest.raises(InputError, match="punkt_tab averaged_perceptron_tagger_eng wordnet fetch"):
        with_growth(Vocabulary(("dog",)), wanted=True, report=print)


def evidence(*seen):
    """A caption and its classes from an image each."""
    return [
        Evidence(caption, image, frozenset(classes))
        for image, (caption, classes) in enumerate(seen)
    ]


def test_words_that_imply_a_class_are_earned():
    vocabulary = Vocabulary(("suitcase", "dog"))
    seen = evidence(
        *[("her luggage", {0})] * 5,
        *[("a park", {1})] * 2,
        *[("a park", set())] * 3,
        *[("a suitcase by the door", {0})] * 9,
    )
    assert earn_implied(vocabulary, seen, known={0, 1}) == (("luggage",), ())
    assert earn_implied(vocabulary, seen, known={1}) == ((), ())
    once = [row._replace(image=1) for row in seen]
    assert earn_implied(vocabulary, once, known={0, 1}) == ((), ())
    taught = Vocabulary(vocabulary.names, implied=(("luggage",), ()))
    assert NounFilter(vocabulary=taught).labels(["lots of luggage", "a dog"]) == [(0,), (1,)]


def test_evidence_of_another_vocabulary():
    coco, voc = load_vocabulary("coco2014"), load_vocabulary("voc2007")
    motorcycle, zebra = coco.names.index("motor bike"), coco.names.index("zebra")
    seen, known = in_terms_of(voc, evidence(("a motorbike", {motorcycle, zebra})), coco)
    assert seen[0].classes == {voc.names.index("motorbike")}
    assert len(known) == 20


def test_stop_list_is_earned():
    vocabulary = Vocabulary(("person",), grown=(("planter", "boy"),))
    seen = evidence(*[("a planter", set())] * 3, *[("a boy", {0})] * 3, ("a boy, a planter", set()))
    assert earn_stop_list(vocabulary, seen) == [["planter"]]
    assert NounFilter(vocabulary=vocabulary).labels(["boys"]) == [(0,)]


def test_evidence_names_images_by_number_or_text(tmp_path):
    path = tmp_path / "evidence.jsonl"
    rows = [("a dog", "a.jpg"), ("a cat", 7), ("a dog", "b.jpg"), ("dogs", "a.jpg")]
    path.write_text(
        "".join(
            json.dumps({"caption": caption, "image_id": image, "labels": [16]}) + "\n"
            for caption, image in rows
        )
    )
    assert [row.image for row in read_evidence(path)] == [image for _, image in rows]
    assert [row.image for row in read_evidence(path, half="odd")] == ["a.jpg", "a.jpg"]
    with pytest.raises(InputError, match="speaks of class 16, and its class list has 1, counted"):
        in_terms_of(Vocabulary(("dog",)), read_evidence(path), Vocabulary(("cat",)))
