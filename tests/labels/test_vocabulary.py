"""Vocabularies: the built-in ones, users' files, and what is said about bad ones."""

import json
import re
import warnings

import pytest

from tai_dpt.errors import InputError
from tai_dpt.labels.class_lists import (
    VOCABULARIES,
    imagenet_templates,
    load_vocabulary,
    template_texts,
)
from tai_dpt.labels.vocabulary import Vocabulary

from places import TESTS

SIZES = {"voc2007": 20, "coco2014": 80, "nuswide": 81}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_built_in(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no synonym is claimed twice
        vocabulary = load_vocabulary(name)
        readable = load_vocabulary(name, names="readable")
    assert len(vocabulary) == len(readable) == SIZES[name]
    assert vocabulary.dataset_names == readable.dataset_names
    assert any(vocabulary.grown)
    for words, stop in zip(vocabulary.grown, vocabulary.stop, strict=True):
        assert not set(words) & set(stop)


def test_names_of_the_paper_the_data_set_and_plain_english():
    coco, voc = load_vocabulary("coco2014"), load_vocabulary("voc2007")
    assert coco.names[3:5] == ("motor bike", "aeroplane")
    assert coco.dataset_names[3:5] == ("motorcycle", "airplane")
    assert voc.names[15] == "pottedplant"
    assert load_vocabulary("voc2007", names="readable").names[15] == "potted plant"
    assert voc.index_by_any_name()["potted plant"] == 15
    assert coco.index_by_any_name()["motorcycle"] == 3


def test_built_in_match_the_reference():
    path = TESTS / "reference/vocabularies.json"
    for name, classes in json.loads(path.read_text()).items():
        vocabulary = load_vocabulary(name)
        assert list(vocabulary.names) == [c["name"] for c in classes]
        for got, c in zip(vocabulary.synonyms, classes, strict=True):
            assert set(got) == {c["name"], *c["synonyms"]}
    templates = json.loads(path.with_name("imagenet_templates.json").read_text())
    assert list(imagenet_templates()) == templates


def test_template_texts():
    texts, labels = template_texts(Vocabulary(("cat", "dog")))
    assert len(texts) == len(labels) == 2 * 89
    assert texts[:10].count("a photo of a cat.") == 9
    assert labels == [0] * 89 + [1] * 89
    assert all("dog" in text for text in texts[89:])


def test_name_lists_with_bom_and_crlf(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeff# mine\r\npotted plant\r\n\r\nChaise longue\r\n".encode())
    vocabulary = Vocabulary.from_file(path)
    assert vocabulary.names == ("potted plant", "Chaise longue")
    assert vocabulary.synonyms == (("potted plant",), ("chaise longue",))


@pytest.mark.parametrize(
    ("content", "names", "said"),
    [
        (b"dog\rcat\rbus\r", ("dog", "cat", "bus"), ""),
        (b'"dog",\n"cat",\n', ("dog", "cat"), "read without quotes"),
        (b"'dog'\n'cat'\n", ("dog", "cat"), "read without quotes"),
        (b"0 person\n1 bicycle\n2 car\n", ("person", "bicycle", "car"), "without numbers"),
        (b"1. person\n2. car\n", ("person", "car"), "without numbers"),
        (b"1: a\n2: b\n5: c\n9: d\n90: e\n", ("a", "b", "c", "d", "e"), "without numbers"),
        (b"2 door car\n4 door car\n", ("2 door car", "4 door car"), ""),
        (b"# mine\n#\n#1 fan\n dog \n", ("#1 fan", "dog"), "'#1 fan' is read as a name"),
        ("\u201cdog\u201d\n\u201ccat\u201d,\n".encode(), ("dog", "cat"), "without quotes"),
        ("\u2022 dog\n* t-shirt\n".encode(), ("dog", "t-shirt"), "without bullets"),
        (b"1 - dog\n2 - cat\n", ("dog", "cat"), "without numbers"),
        (b"0 dog\n2 cat\n", ("dog", "cat"), "without numbers"),
        (b"dog 0\ncat\t1\n", ("dog", "cat"), "without the numbers at the ends"),
        (b"level 1\nlevel 2\n", ("level 1", "level 2"), ""),
        (b"washer, dryer\ndog\n", ("washer, dryer", "dog"), "is read as one name, comma and all"),
        (b"ratio 3:4\ndog\n", ("ratio 3:4", "dog"), ""),
        ("\u2018dog\u2019\n\u00abcat\u00bb\n".encode(), ("dog", "cat"), "without quotes"),
        (b"(1) dog\n(2) cat\n", ("dog", "cat"), "without numbers"),
        (b"[0] dog\n[1] cat\n", ("dog", "cat"), "without numbers"),
        (b"#0 dog\n#1 cat\n", ("dog", "cat"), "without numbers"),
        (b"1 euro\n2 euro\n", ("1 euro", "2 euro"), ""),
        (b"dog -> 0\ncat -> 1\n", ("dog", "cat"), "without the numbers at the ends"),
        (b"dog,\ncat,\nbus\n", ("dog", "cat", "bus"), "without the commas at the ends"),
        ("\u200edog\u200b\ncafe\u0301\n".encode(), ("dog", "caf\u00e9"), ""),
    ],
)
def test_name_lines(tmp_path, recwarn, content, names, said):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    assert Vocabulary.from_file(path).names == names
    assert bool(recwarn) == bool(said)
    assert all(said in str(warning.message) for warning in recwarn)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "dog: puppy, hound\ncat\n"),
        ("a.txt", "dog: [puppy, hound]\ncat:\n"),
        ("a.txt", "dog:puppy;'hound'\ncat\n"),
        ("a.yaml", "- dog: [puppy, hound]\n- cat\n"),
        ("a.yaml", "- dog: puppy, hound\n- cat:\n"),
        ("a.yaml", "dog: puppy, hound\ncat:\n"),
        ("a.yaml", "classes:\n  dog: {synonyms: [puppy, hound]}\n  cat:\n"),
        ("a.yaml", "0: {name: dog, synonyms: [puppy, hound]}\n1: cat\n"),
        ("a.json", '[{"dog": ["puppy", "hound"]}, {"name": "cat"}]'),
        ("a.json", '{"dog": {"synonyms": ["puppy", "hound"]}, "cat": []}'),
        ("a.csv", "name;synonyms\ndog;puppy, hound\ncat\n"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*what stands behind a colon is read as synonyms")
def test_names_with_synonyms_beside_names_without(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    vocabulary = Vocabulary.from_file(path)
    assert vocabulary.names == ("dog", "cat")
    assert vocabulary.synonyms == (("dog", "puppy", "hound"), ("cat",))


@pytest.mark.parametrize(
    ("text", "synonyms"),
    [
        ("id,name\n1,dog\n2,cat\n", ("dog",)),
        ("sep=;\r\nname;synonyms\r\ndog;puppy, hound\r\ncat;\r\n", ("dog", "puppy", "hound")),
        ("sep=;\ndog\ncat\n", ("dog",)),
        ('"Index"\t"Class name"\n0\tdog\n\n1\tcat\n', ("dog",)),
        ('Name,Aliases\ndog,"puppy, hound"\ncat,\n', ("dog", "puppy", "hound")),
    ],
)
def test_tables_of_classes(tmp_path, text, synonyms):
    path = tmp_path / "classes.txt"
    path.write_bytes(text.encode())
    vocabulary = Vocabulary.from_file(path)
    assert (vocabulary.names, vocabulary.synonyms) == (("dog", "cat"), (synonyms, ("cat",)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "name,label\na,b\n", "'name' and 'label' may both have the names"),
        ("c.csv", "/m/1,dog\n/m/2,cat\n", "does not say which column has the names"),
        ("c.csv", "id,name\n1,dog,x\n", "line 2: 3 columns where the head has 2"),
        ("c.csv", "id,name\n1,\n", "line 2: no name"),
        ("c.csv", "id,name\n1,dog\n2,dog\n", "line 3: 'dog' stands there already"),
        ("c.pbtxt", "item {\n  id: 1\n  name: 'dog'\n}\n", "looks like a label map of TensorFlow"),
        ("c.txt", "dog: puppy\ncat: kitten\n", "looks like a name and its synonyms"),
        ("c.txt", "bus\ndog: puppy\n", "line 2: 'dog: puppy' looks like a name and its synonyms"),
        ("c.txt", "pet: a, b\npet: dog\n", "looks like a name and its synonyms"),
        ("c.txt", "dog -> puppy\ncat\n", "looks like a row of a table"),
        ("c.txt", "bus\ndog;puppy\n", "line 2: 'dog;puppy' looks like a row of a table"),
        ("c.txt", "bus\n1: dog\n", "line 2: '1: dog' is numbered and other lines are not"),
        ("c.csv", "dog,puppy\ncat\n", "does not say which column has the names"),
        ("c.yaml", "- dog: puppy\n- cat\n", "write 'dog: [puppy]' for a synonym, or quote a name"),
        ("c.yaml", "dog: [puppy]\ncat\n", "with a colon after a name that has none"),
        ("c.json", '["dog", ["cat", "kitten"]]', "a name and its synonyms are {name: dog,"),
        ("c.yaml", "nc: 3\n", "looks like YOLO's data.yaml, and has no names"),
        ("c.txt", "dog\n\u200b\n", "class 1: '\\u200b' has nothing in it that can be read"),
        ("c.txt", "___\n", "class 0: '___' has nothing in it that can be read"),
    ],
)
def test_lists_that_are_none(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        Vocabulary.from_file(path)


def test_json_is_a_class_list_too(tmp_path):
    path = tmp_path / "classes.json"
    for text in ('[\n\t"dog",\n\t"traffic light"\n]', '["dog", "traffic light",]'):
        path.write_text(text)
        assert Vocabulary.from_file(path).names == ("dog", "traffic light")


@pytest.mark.parametrize("key", ["class_names", "labels", "tags"])
def test_a_list_under_one_key_is_the_list(tmp_path, key):
    (tmp_path / "a.json").write_text(f'{{"{key}": ["dog", "cat"]}}')
    assert Vocabulary.from_file(tmp_path / "a.json").names == ("dog", "cat")


def test_roboflows_root_is_no_class(tmp_path):
    path = tmp_path / "_annotations.coco.json"
    animals = [
        {"id": i, "name": n, "supercategory": "animals"} for i, n in ((1, "dog"), (2, "cat"))
    ]
    root = {"id": 0, "name": "animals", "supercategory": "none"}
    path.write_text(json.dumps({"categories": [root, *animals]}))
    with pytest.warns(UserWarning, match="'animals' is above the categories"):
        assert Vocabulary.from_file(path).names == ("dog", "cat")


def test_a_heading_is_no_class(tmp_path):
    path = tmp_path / "classes.csv"
    for lines in ("dog\ncat\n", "0 dog\n1 cat\n", '"dog",\n"cat"\n'):
        path.write_text(f"Class name\n{lines}")
        with pytest.warns(UserWarning, match="'Class name', is read as the head"):
            assert Vocabulary.from_file(path).names == ("dog", "cat")


@pytest.mark.parametrize(
    "text",
    [
        "- {name: dog, synonyms: [puppy]}\n- cat\n",
        "dog: [puppy]\ncat:\n",
        "classes:\n- {name: dog, synonyms: [dog, puppy]}\n- name: cat\nblocked: [hot dog]\n",
    ],
)
def test_yaml_forms(tmp_path, text):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    vocabulary = Vocabulary.from_file(path)
    assert vocabulary.names == ("dog", "cat")
    assert vocabulary.synonyms == (("dog", "puppy"), ("cat",))
    assert vocabulary.blocked == (("hot dog",) if "blocked" in text else ())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "a.txt is empty"),
        ("a.txt", "\n# nothing\n", "no class names"),
        ("a.txt", "Cat\ndog\ncat\n", "same name after lower-casing: 'Cat' and 'cat'"),
        ("a.yaml", "- name: [x", "not valid YAML"),
        ("a.yaml", "- no\n", "class 1 has no 'name'"),
        ("a.yaml", "- {name: no}\n", "class 1: name is False, not text; put it in quotes"),
        ("a.yaml", "- {name: a, synonym: [b]}\n", "unknown key 'synonym'; did you mean 'synonyms'"),
        ("a.yaml", "- {name: a, synonyms: b}\n", "must be a list"),
        ("a.yaml", "cat: []\ncat: []\n", "line 2: not valid YAML: 'cat' occurs twice"),
        ("a.yaml", "3\n", "not a class list"),
        ("a.yaml", "names:\nnc: 0\n", "not a class list"),
        ("a.json", '{"categories": []}', "not a class list"),
        ("a.yaml", "names: [no, yes]\n", "class 1 has no 'name': False; put it in quotes"),
        ("a.yaml", "nc: 3\nnames: [dog, cat]\n", "nc is 3, and names has 2 entries"),
        ("a.json", '{"1": "dog", "01": "cat"}', "class 1: synonyms must be a list, got 'dog'"),
        ("a.json", '{"dog": 0, "cat": 0}', "class 1: synonyms must be a list, got 0"),
        ("a.yaml", "[" * 3000 + "]" * 3000, "nest"),
        ("a.yaml", "- " + "9" * 5000, "not valid YAML"),
        ("a.txt", '"dog"\ncat\n', 'line 1: "dog" is quoted and other lines are not'),
        ("a.txt", "['dog', 'cat']\n", "looks like a list in Python or JSON"),
        ("a.txt", "- dog\n- cat\n", "looks like YAML"),
        ("a.txt", "dog, cat, bus\n", "looks like a list of names"),
        ("a.txt", "dog;cat\n", "looks like a list of names"),
        ("a.txt", '"dog", "cat"\n', "looks like a list of names"),
        ("a.txt", "cat\ndog # an animal\n", "line 2: 'dog # an animal' looks like a name and"),
        ("a.txt", "pos,what\n0,dog\n1,cat\n", "'pos,what' looks like the head of a table"),
        ("a.txt", "n01440764 tench\n", "begins with a WordNet id"),
        ("a.txt", "/m/01g317,Person\n/m/0k4j,Car\n", "begins with an id of Open Images"),
        ("a.xml", "<View>\n<Choice value='dog'/>\n", "looks like XML"),
        ("a.txt", "dog.jpg\ncat.JPG\n", "looks like an image's name"),
        ("a.txt", "dog|cat\n", "looks like a list of names"),
        ("a.txt", "dog\n???\n", "class 1: '???' has nothing in it that can be read"),
        ("a.txt", "dog " * 2_500_000, "more than 200: no name of a class"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError) as error:
        Vocabulary.from_file(path)
    assert message in str(error.value)
    assert name in str(error.value)


def test_not_utf8_says_where_and_how_to_convert(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_bytes("dog\ncaf\u00e9\n".encode("latin1"))
    with pytest.raises(InputError, match=r"byte 7 \(line 2\).*iconv -f LATIN1"):
        Vocabulary.from_file(path)
    path.write_bytes("dog\n".encode("utf-16"))
    with pytest.raises(InputError, match="iconv -f UTF-16"):
        Vocabulary.from_file(path)


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(InputError, match=r"did you mean 'coco2014'.*voc2007, coco2014, nuswide"):
        load_vocabulary("coco2104")
    with pytest.raises(InputError, match=r"no such class list: mine\.yaml"):
        load_vocabulary("mine.yaml")
    with pytest.raises(InputError, match="valid: paper, readable"):
        load_vocabulary("coco2014", names="plain")


def test_a_synonym_of_two_classes_goes_to_the_one_of_that_name_else_the_first():
    with pytest.warns(UserWarning, match="'hound' is claimed by the classes 'dog' and 'wolf'"):
        vocabulary = Vocabulary(("dog", "wolf"), (("hound",), ("hound", "cub")))
    assert vocabulary.synonyms == (("dog", "hound"), ("wolf", "cub"))
    with pytest.warns(UserWarning, match="it goes to 'cup'"):
        vocabulary = Vocabulary(("mug", "cup"), (("cup",), ()))
    assert vocabulary.synonyms == (("mug",), ("cup",))


def test_empty_and_uneven():
    with pytest.raises(InputError, match="at least one class"):
        Vocabulary(())
    with pytest.raises(InputError, match="class 1 needs a name"):
        Vocabulary(("a", " "))
    with pytest.raises(InputError, match="2 class names but 1 entries of synonyms"):
        Vocabulary(("a", "b"), (("c",),))


def test_fingerprint_follows_the_words():
    one = Vocabulary(("a", "b"))
    assert one.fingerprint() == Vocabulary.from_names(["a", "b"]).fingerprint()
    assert one.fingerprint() != Vocabulary.from_names({"a": ["c"], "b": []}).fingerprint()
