"""Vocabularies that grow: needs NLTK and its WordNet."""

import pytest

from tai_dpt.cli.grow_vocabulary import earn_stop_list, to_yaml
from tai_dpt.errors import InputError
from tai_dpt.labels import NounFilter
from tai_dpt.labels.grow import grow, grow_where_possible
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
    assert {"skier", "skiing"} <= set(vocabulary.grown[4])


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
    assert grow_where_possible(vocabulary) is vocabulary


@needs_wordnet
def test_unknown_sense():
    with pytest.raises(InputError, match=r"no sense 'dog\.n\.99'"):
        grow(Vocabulary(("dog",), senses=("dog.n.99",)))


def test_stop_list_is_earned():
    vocabulary = Vocabulary(("person",), grown=(("planter", "boy"),))
    evidence = [("a planter", set())] * 3 + [("a boy", {0})] * 3 + [("a boy, a planter", set())]
    assert earn_stop_list(vocabulary, evidence) == [["planter"]]
    assert NounFilter(vocabulary=vocabulary).labels(["boys"]) == [(0,)]
