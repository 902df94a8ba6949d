"""Vocabularies in another language than English: their words as they stand."""

import pytest

from tai_dpt.errors import InputError
from tai_dpt.labels import NounFilter
from tai_dpt.labels.grow import grow, with_growth
from tai_dpt.labels.vocabulary import Vocabulary


def german(*names, **more):
    return Vocabulary(names, language="de", **more)


def labels(vocabulary, *captions, **options):
    return NounFilter(vocabulary=vocabulary, **options).labels(captions)


def test_words_are_found_as_they_stand():
    vocabulary = german("Hund", "Straße", "Auto")
    captions = ["ein HUND", "Hunde", "auf der STRASSE: das Auto", "Autos", "Hund-Auto", "der Hun d"]
    assert labels(vocabulary, *captions) == [(0,), (), (1, 2), (), (0, 2), ()]


@pytest.mark.parametrize(
    ("names", "caption", "expected", "in_english"),
    [
        (("Gla",), "ein Glas", (), (0,)),
        (("Rad",), "zwei Rads", (), (0,)),  # no plural by -s
        (("schon",), "ein schön blauer Himmel", (), (0,)),  # accents tell words apart
        (("Kind", "Hund"), "das Kind Hund", (0, 1), (1,)),  # "baby elephant" is English
        (("Regenschirm",), "der Regen Schirm", (), (0,)),  # "key board" is
        (("kleiner Hund",), "ein kleiner brauner Hund", (), (0,)),
    ],
)
def test_rules_of_english_are_left_out(names, caption, expected, in_english):
    assert labels(german(*names), caption) == [expected]
    assert labels(Vocabulary(names), caption) == [in_english]


def test_the_longest_phrase_first_and_a_stretch_once():
    vocabulary = german("roter Wagen", "Wagen", "Wagen mit Hund", blocked=("Wagen mit Katze",))
    captions = ["ein roter Wagen", "roter Wagen mit Hund", "Wagen mit Katze", "Wagen, roter Wagen"]
    assert labels(vocabulary, *captions) == [(0,), (2,), (), (0, 1)]


def test_scripts_without_spaces_are_found_within():
    vocabulary = Vocabulary(("犬", "車"), language="ja")
    assert labels(vocabulary, "犬が車の前にいる", "猫") == [(0, 1), ()]
    assert vocabulary.remarks() == []  # said of English lists alone


def test_a_lemmatizer_of_ones_own():
    assert labels(german("Hund"), "Hunde", lemmatizer=lambda word: word.removesuffix("e")) == [(0,)]
    assert labels(german("Hund"), "viele sehr Hund", max_tokens=2) == [()]


def test_files_say_their_language(tmp_path):
    lines = tmp_path / "klassen.txt"
    lines.write_text("# meine\n# Language: DE\nHund\nAuto\n", encoding="utf-8")
    listed = Vocabulary.from_file(lines)
    assert (listed.names, listed.language, listed.english) == (("Hund", "Auto"), "de", False)
    structured = tmp_path / "klassen.yaml"
    structured.write_text("language: de\nclasses: [Hund, Auto]\n")
    assert Vocabulary.from_file(structured) == listed
    assert listed.subset([1]).language == "de"
    lines.write_text("Hund\nAuto\n")
    assert Vocabulary.from_file(lines).language == "en"


def test_the_language_decides_labels_so_it_is_in_the_hash():
    names = ("Hund", "Auto")
    assert german(*names).fingerprint() != Vocabulary(names).fingerprint()
    one, other = (NounFilter(vocabulary=Vocabulary(names, language=c)) for c in ("de", "nl"))
    assert one.fingerprint() != other.fingerprint()
    assert Vocabulary(names, language="en-GB").english


def test_bad_languages(tmp_path):
    path = tmp_path / "klasser.yaml"
    path.write_text("language: no\nclasses: [hund]\n")
    with pytest.raises(InputError, match=r"klasser\.yaml: language is False.*quote it"):
        Vocabulary.from_file(path)
    with pytest.raises(InputError, match="language is 'German!'; give a code like de"):
        Vocabulary(("Hund",), language="German!")
    lines = tmp_path / "both.txt"
    lines.write_text("# language: de\n# language: fr\nHund\n")
    with pytest.raises(InputError, match="several languages: de, fr"):
        Vocabulary.from_file(lines)


def test_what_is_of_english_is_refused():
    vocabulary = german("Hund")
    with pytest.raises(InputError, match="language is 'de', and the preset 'paper' is of English"):
        NounFilter(vocabulary=vocabulary, preset="paper")
    with pytest.raises(InputError, match="the lemmatizer 'builtin' is of English"):
        NounFilter(vocabulary=vocabulary, lemmatizer="builtin")
    with pytest.raises(InputError, match="verbs are for rules of English"):
        german("Hund", verbs=("Hund",))
    with pytest.raises(InputError, match="WordNet is English"):
        grow(vocabulary)
    said: list[str] = []
    assert with_growth(vocabulary, wanted=False, report=said.append) is vocabulary
    assert said == ["captions ('de'): names and synonyms are read as they stand"]
