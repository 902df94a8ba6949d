"""One spelling: names, synonyms, captions and label files meet however each is written."""

import unicodedata
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tai_dpt.errors import InputError
from tai_dpt.labels import NounFilter, singular
from tai_dpt.labels.class_lists import VOCABULARIES, load_vocabulary
from tai_dpt.labels.spelling import Names, bare, normalise, readings
from tai_dpt.labels.vocabulary import Vocabulary


def found(names, captions):
    return NounFilter(vocabulary=Vocabulary.from_names(names)).labels(captions)


@pytest.mark.parametrize(
    ("name", "captions"),
    [
        (
            "t-shirt",
            ["a t-shirt", "two T-Shirts", "a t shirt", "tshirts", "a t\u2011shirt", "t_shirt"],
        ),
        ("tshirt", ["a t-shirt", "a t shirt", "tshirts"]),
        ("x-ray", ["an x-ray", "x rays", "an xray"]),
        ("hot-air balloon", ["hot air balloons", "a hot-air balloon", "a hotair balloon"]),
        ("mother-in-law", ["mothers-in-law", "my mother in law"]),
        ("traffic_light", ["a traffic light", "traffic_lights", "a traffic-light"]),
        ("keyboard", ["a key board", "keyboards", "a key-board"]),
        ("café", ["a café", "a cafe\u0301", "a cafe", "CAFÉS"]),
        ("cafe", ["a café", "two cafe\u0301s"]),
        ("men's shoes", ["men\u2019s shoes", "men's shoe", "mens shoes"]),
        ("U.S. flag", ["a US flag", "the u.s. flag", "a U.S flag", "u.s.-flags"]),
        ("St. Bernard", ["a St Bernard", "a st. bernard"]),
        ("U. S. flag", ["a US flag", "the U.S. flag", "a U. S. flag"]),
        ("US flag", ["the U. S. flag.", "a u.s. flag", "a U S flag"]),
        ("U S flag", ["a US flag", "the U.S. flag"]),
        ("T. rex", ["a T rex", "a t. rex"]),
        ("T rex", ["two T. rexes", "a T. Rex."]),
        ("St. Bernard", ["a Saint Bernard", "two St. Bernards", "st.-bernard"]),
        ("Saint Bernard", ["a St Bernard", "a St. Bernard", "a saint-bernard"]),
        ("3-D glasses", ["3D glasses", "3 D glasses", "3-d glasses"]),
        ("3D glasses", ["3D glasses", "3 D glasses", "3-d glasses"]),
        ("F16", ["an F-16 lands", "F 16"]),
        ("t-shirt", ["a tee-shirt", "tee shirts", "two teeshirts", "a tee\u2011shirt"]),
        ("tee-shirt", ["a t-shirt", "a t shirt", "tshirts", "a teeshirt"]),
        ("teeshirt", ["a t-shirt", "a tee shirt"]),
        ("salt & pepper", ["salt and pepper", "Salt & Pepper", "salt 'n' pepper", "salt n pepper"]),
        ("rock 'n' roll", ["rock and roll", "rock & roll", "rock n roll", "rock\u2019n\u2019roll"]),
        ("2-wheeler", ["a two-wheeler", "two wheelers", "2 wheelers"]),
        ("two-wheeler", ["a 2-wheeler", "a 2 wheeler"]),
        ("grey wolf", ["a gray wolf", "gray wolves"]),
        ("tire", ["two tyres", "a tyre"]),
        ("donut", ["doughnuts", "a doughnut"]),
        ("pajamas", ["striped pyjamas"]),
        ("Saint Bernard/Poodle", ["a St. Bernard", "poodles"]),
        ("kite (bird of prey)", ["a kite", "kites"]),
        ("kite_(toy)", ["a kite"]),
        ("Monitor/TV", ["a monitor", "TVs", "two tv sets"]),
        ("wei\u00dfwurst", ["a weisswurst", "WEISSWURST"]),
        ("\uff44\uff4f\uff47", ["a dog"]),
        ("kite (bird (of prey))", ["a kite"]),
        ("kite\uff08bird\uff09", ["a kite"]),
        ("mouse {computer}", ["two mice"]),
        ("mug\uff0fcup", ["a cup", "mugs"]),
        ("yo-yo", ["yo-yos", "yoyos", "two yo yos"]),
        ("guru", ["gurus", "a guru"]),
        ("film", ["F\u0130LM", "f\u0131lm", "FILM"]),
        ("I\u015f\u0131k", ["\u0131\u015f\u0131k", "I\u015eIK", "i\u015fik"]),
        ("larva", ["two larvae", "larvas"]),
        ("stadium", ["big stadia", "stadiums"]),
        ("château", ["châteaux", "chateaux", "a chateau"]),
        ("hypothesis", ["two hypotheses"]),
        ("fez", ["fezzes", "a fez"]),
        ("smørrebrød", ["smorrebrod", "Smørrebrød"]),
        ("hors d'œuvre", ["hors d'oeuvres", "hors d\u2019\u0153uvre"]),
        ("crème brûlée", ["crème brulée", "creme brulee", "crème brûlées"]),
        ("licence plate", ["license plates", "a licence-plate"]),
        ("Ph.D. gown", ["a PhD gown", "ph. d. gowns", "phd gowns"]),
        ("D.J.", ["two DJs", "a DJ"]),
        ("F-16", ["F-16s", "F16s", "an F 16"]),
        ("farmers' market", ["a farmer's market", "farmers\u2019 markets", "farmers markets"]),
        ("18-wheeler", ["an eighteen-wheeler", "18 wheelers"]),
        ("4x4 car", ["a 4\u00d74 car"]),
        ("1/2 inch nut", ["a \u00bd inch nut"]),
        ("stop sign", ["a \u200fstop\u200e sign\ufe0f", "\u2067stop sign\u2069"]),
        ("כלב", ["כֶּלֶב"]),
        ("كلب", ["كَلْب"]),
    ],
)
def test_every_spelling_is_found(name, captions):
    assert found([name, "zebra"], captions) == [(0,)] * len(captions)


def test_what_is_not_a_spelling():
    assert found(["carpet", "island"], ["a car pet", "this is land"]) == [(), ()]
    assert found(["t-shirt", "train"], ["don't rain", "a shirt with a t"]) == [(), ()]
    assert found(["gray wolf", "grey wolf"], ["a gray wolf", "a grey wolf"]) == [(0,), (1,)]
    assert found(["two", "saint"], ["2 cats", "an st"]) == [(), ()]
    grown = Vocabulary(("person",), grown=(("has-been", "passer-by"),))
    assert NounFilter(vocabulary=grown).labels(
        ["it has been", "a has-been", "passers-by", "two passersby"]
    ) == [(), (0,), (0,), (0,)]


@pytest.mark.parametrize(
    ("name", "otherwise", "meant"),
    [
        (
            "orange",
            ["an orange shirt", "a man in orange", "walls painted bright orange"],
            ["an orange", "oranges in a bowl", "an orange left on a plate", "an orange outdoors"],
        ),
        ("orange", ["an orange and blue bag"], ["a bright orange on a table"]),
        ("clock", ["he clocks in"], ["two clocks left below a mouse", "clocks left to the right"]),
        ("train", ["they train hard", "to train a dog"], ["a train", "next to trains"]),
        ("saw", ["we saw her"], ["a saw", "two saws"]),
        ("can", ["you can see it"], ["a can of soda", "cans"]),
    ],
)
def test_a_plain_list_of_names_knows_common_words_that_are_more_than_nouns(name, otherwise, meant):
    assert found([name, "zebra", "red panda"], otherwise) == [()] * len(otherwise)
    assert found([name, "zebra", "red panda"], meant) == [(0,)] * len(meant)


def test_colours_may_be_classes_and_a_list_may_say_what_is_a_verb():
    assert found(["orange", "red"], ["an orange shirt", "a red one"]) == [(0,), (1,)]
    own = Vocabulary(("train", "book"), verbs=("book",))
    assert NounFilter(vocabulary=own).labels(["they train", "they book"]) == [(0,), ()]


def test_names_of_label_files_meet_in_every_spelling():
    assert Names([("dog", 0), ("aeroplane", 1)]).get("\u200edog\u200f") == 0
    assert Names([("dog", 0), ("aeroplane", 1)]).get("Airplanes") == 1
    names = Names([("t-shirt", 0), ("grey wolf", 1), ("St. Bernard", 2), ("two-wheeler", 3)])
    written = ["Tee Shirts", "gray_wolf", "saint bernard", "2-wheelers"]
    assert [names.get(name) for name in written] == [0, 1, 2, 3]
    both = Names([("gray wolf", 0), ("grey wolf", 1)])
    assert [both.get(name) for name in ("gray wolf", "Grey-Wolf")] == [0, 1]


def test_an_accent_counts_where_a_class_differs_by_it():
    assert found(["café", "cafe"], ["a café", "a cafe"]) == [(0,), (1,)]
    names = Names([("café", 0), ("cafe", 1), ("naïve", 2)])
    assert [names.get(name) for name in ("Café", "cafe", "naive")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("names", "caption", "expected"),
    [
        (["狗", "猫"], "一只狗在草地上", (0,)),
        (["狗", "热狗"], "两个热狗", (1,)),
        (["狗", "热狗"], "热狗和狗", (0, 1)),
        (["สุนัข", "แมว"], "มีสุนัขและแมวอยู่", (0, 1)),
        (["犬", "猫"], "犬がソファーで寝ている", (0,)),
        (["강아지", "개"], "강아지가 3개월", (0,)),
        (["T恤"], "一件白色的t恤", (0,)),
        (["T恤", "消防栓"], "白色 T 恤 和 消防 栓", (0, 1)),
        (["USB メモリ"], "黒いUSBメモリ", (0,)),
        (["TV 리모컨", "소방 차"], "TV리모컨과 소방차", (0, 1)),
    ],
)
def test_scripts_without_word_breaks(names, caption, expected):
    with pytest.warns(UserWarning, match="OpenAI's CLIP reads English"):
        assert found(names, [caption]) == [expected]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_hyphenated_phrase_that_ships_is_alive(name):
    vocabulary = load_vocabulary(name)
    owners = defaultdict(set)
    for lists in (vocabulary.synonyms, vocabulary.grown):
        for index, phrases in enumerate(lists):
            for phrase in phrases:
                if "-" in phrase:
                    owners[singular(normalise(phrase))].add(index)
    assert len(owners) > 100
    captions = [f"there is a {phrase.replace(' ', '-')}." for phrase in owners]
    labels = NounFilter(vocabulary=vocabulary).labels(captions)
    for caption, found, classes in zip(captions, labels, owners.values(), strict=True):
        assert classes & set(found), caption


@given(st.text(max_size=30))
def test_normalise_is_settled_at_once(text):
    once = normalise(text)
    assert normalise(once) == once
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(
        unicodedata.normalize("NFC", text)
    )
    assert normalise(f"  {text.upper()} ") == normalise(text.upper())


def test_bare():
    assert bare("crème brûlée") == "creme brulee"
    assert bare("dog") == "dog"


def test_names_are_found_however_written():
    names = Names([("potted plant", 0), ("t-shirt", 1), ("glass", 2), ("glasses", 3)])
    spelled = [
        "Potted_Plant",
        "pottedplant",
        "potted plants",
        "T SHIRT",
        "tshirt",
        " glasses",
        "Glass",
    ]
    assert [names.get(name) for name in spelled] == [0, 0, 0, 1, 1, 3, 2]
    assert "plant" not in names


def test_readings_and_remarks():
    assert readings("24/7 store") == readings("A / B") == readings("w/o") == ()
    assert found(["A / B", "w/o"], ["a cup of o"]) == [()]
    vocabulary = Vocabulary(("kite (bird of prey)", "Monitor/TV", "dog"))
    assert vocabulary.synonyms[0] == ("kite (bird of prey)", "kite")
    assert vocabulary.remarks() == [
        "in captions 'kite (bird of prey)' is read as 'kite'; 'Monitor/TV' is read as 'monitor' "
        "or 'tv'"
    ]


def test_a_class_that_no_caption_can_name_says_why():
    twins = Vocabulary(("kite (toy)", "kite (bird)", "crane (bird)", "crane"))
    assert found(list(twins.names), ["a kite", "a crane"]) == [(), (3,)]
    lines = twins.remarks()
    assert "class 'kite (toy)': 'kite' is what several classes are called" in lines[0]
    assert "class 'crane (bird)': 'crane' belongs to 'crane'" in lines[2]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["missile", "a", "missile"], r"'missile' and 'missile' \(classes 0 and 2"),
        (["t-shirt", "T_Shirt"], "same name after lower-casing: 't-shirt' and 'T_Shirt'"),
        (["café", "cafe\u0301"], "same name"),
        (["dog\0"], r"U\+0000"),
        (["dog\nby a cat"], r"U\+000A"),
        (["\ud83d"], r"U\+D83D"),
        (["very " * 74 + "big"], "more than 200"),
    ],
)
def test_names_that_are_refused(names, message):
    with pytest.raises(InputError, match=message) as error:
        Vocabulary.from_names(names)
    assert len(str(error.value)) < 250


def test_two_classes_of_one_dataset_name():
    with pytest.raises(InputError, match="same dataset_name"):
        Vocabulary(("a", "b"), dataset_names=("x", "X"))
