"""JSON, YAML and arrays from hands unknown: one line that says what is wrong, or the content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from tai_dpt.errors import InputError
from tai_dpt.io.arrays import ArraySpec, check_arrays, read_npz, read_safetensors
from tai_dpt.io.reading import (
    Names,
    Positive,
    Record,
    checked,
    parse_json,
    parse_yaml,
    read_json,
    read_yaml,
)

ALIAS_BOMB = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}, r: *a{i - 1}}}\n" for i in range(1, 40)
)
MERGE_BOMB = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)
)
DEEP_BY_ALIASES = "a0: &a0 " + "[" * 90 + "]" * 90 + "\na1: " + "[" * 90 + "*a0" + "]" * 90


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "x.json: not valid JSON: Expecting property name .*line 1 column 2.*; copy it again"),
        ("[" * 200_000, "nested too deeply"),
        ("[" + "1" * 5000 + "]", "not valid JSON: a number of thousands of digits"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' occurs twice"),
        (r'["a dog \ud800"]', r"\\ud800 is half a character"),
    ],
)
def test_json_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse_json(text, where="x.json", remedy="copy it again")
    assert "\n" not in str(error.value)


def test_json_with_whole_surrogate_pairs_is_read() -> None:
    assert parse_json(r'["\ud83d\ude00"]', where="x") == ["😀"]


@settings(max_examples=50, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_comes_back_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value), where="x") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("OPTIM:\n  LR: 1\nOPTIM:\n  MAX_EPOCH: 2\n", "x.yaml: line 3: .*'OPTIM' occurs twice"),
        ("OPTIM: {LR: 1, LR: 2}", "'LR' occurs twice"),
        ("a: [", "x.yaml: line 2: not valid YAML: did not find"),
        ("[" * 500 + "]" * 500, "nested more than 100 deep"),
        ("[" * 200_000, "line 1: .*nest"),
        (DEEP_BY_ALIASES, "line [12]: .*nested more than 100 deep"),
        (ALIAS_BOMB, "its aliases stand for"),
        (MERGE_BOMB, "its aliases stand for"),
        ("a: &a [*a]", "an alias stands inside what it stands for"),
        ("a: " + "1" * 5000, "not valid YAML: a number of thousands"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ("a: !!bool foo", "'foo' is none of its type"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("? [a]\n: 1", "line 1: .*unhashable key"),
    ],
)
def test_yaml_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse_yaml(text, where="x.yaml")
    assert "\n" not in str(error.value)


def test_yaml_with_aliases_and_merged_keys_is_read() -> None:
    text = "base: &base {LR: 1, NAME: sgd}\nmine: {<<: *base, LR: 2}\nsame: *base\n"
    assert parse_yaml(text, where="x")["mine"] == {"LR": 2, "NAME": "sgd"}
    assert parse_yaml("# nothing\n", where="x") is None


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_what_is_no_readable_file(read, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (tmp_path, tmp_path / "none", loop, tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"folder|no such file|levels of symbolic|too long"):
            read(path)


@dataclass(frozen=True)
class Curve:
    slope: Positive
    offsets: tuple[float, ...] = ()


class Described(Record):
    class_names: Names
    curve: Curve


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "should be an object, not"),
        ({"class_names": ["a"]}, "f: it lacks 'curve'; mend it"),
        ({"class_names": None, "curve": {"slope": 1}}, "'class_names' should be .*, not null"),
        ({"class_names": "ab", "curve": {"slope": 1}}, "'class_names' should be .*, not 'ab'"),
        ({"class_names": ["a", "a"], "curve": {"slope": 1}}, "'class_names': 'a' occurs twice"),
        ({"class_names": ["a", " "], "curve": {"slope": 1}}, "'class_names.1' is blank"),
        ({"class_names": ["a"], "curve": {"slope": 0}}, "'curve.slope' should be greater than 0"),
        ({"class_names": ["a"], "curve": {"slope": "1"}}, "should be a valid number, not '1'"),
        ({"class_names": ["a"], "curve": {"slope": float("nan")}}, "finite number, not NaN"),
        ({"class_names": ["a"], "curve": {"slope": 1, "foo": 1}}, "'curve.foo' is unknown"),
    ],
)
def test_what_does_not_fit_its_type(content: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        checked(Described, content, where="f", remedy="mend it")
    assert "\n" not in str(error.value)


def test_what_a_dataclass_lacks_is_unknown() -> None:
    with pytest.raises(InputError, match="f: 'foo' is unknown; mend it"):
        checked(Curve, {"slope": 1, "foo": 1}, where="f", remedy="mend it")


def test_what_fits_its_type() -> None:
    got = checked(
        Described, {"class_names": ["a"], "curve": {"slope": 2, "offsets": [1]}}, where=""
    )
    assert got.class_names == ("a",) and got.curve == Curve(2.0, (1.0,))


SPECS = {"ids": ArraySpec("U", ("images",)), "merged": ArraySpec("f", ("images", "classes"))}
GOOD = {"ids": np.array(["a", "b"]), "merged": np.zeros((2, 3), np.float32)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": GOOD["ids"]}, "it lacks 'merged'"),
        ({**GOOD, "ids": np.array([1, 2])}, "'ids' holds int64, wanted texts"),
        ({**GOOD, "merged": np.zeros((3, 3))}, r"shape \(3, 3\), wanted .* = \(2, classes\)"),
        ({**GOOD, "merged": np.zeros(2)}, r"shape \(2,\), wanted \(images, classes\)"),
        ({**GOOD, "merged": np.full((2, 3), np.nan)}, "6 values that are no finite numbers"),
        ({**GOOD, "merged": np.array(["a"])}, "'merged' holds <U1, wanted fractions"),
        ({**GOOD, "merged": np.array([{}])}, "cannot be read as .npz .it holds Python objects"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_npz(tmp_path / "a.npz", SPECS)


def test_files_that_hold_no_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GOOD["merged"])
    (tmp_path / "b").write_bytes(b"PK\3\4 nothing more")
    for name in ("a.npy", "b", ".", "missing"):
        with pytest.raises(InputError):
            read_npz(tmp_path / name, SPECS)
        with pytest.raises(InputError):
            read_safetensors(tmp_path / name)


def test_every_flipped_byte_of_an_npz_is_found_or_harmless(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **GOOD)
    whole = (tmp_path / "a.npz").read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            got = read_npz(tmp_path / "a.npz", SPECS)
        except InputError:
            continue
        assert all(np.array_equal(got[name], GOOD[name]) for name in SPECS)


def test_tensors_are_held_against_the_same_specs(tmp_path: Path) -> None:
    save_file({"g": torch.zeros(2, 3, dtype=torch.bfloat16)}, tmp_path / "t.safetensors")
    tensors = read_safetensors(tmp_path / "t.safetensors")
    check_arrays(tensors, {"g": ArraySpec("f", ("C", 3))}, where="t")
    with pytest.raises(InputError, match=r"t: 'g' has the shape \(2, 3\), wanted \(C, 4\)"):
        check_arrays(tensors, {"g": ArraySpec("f", ("C", 4))}, where="t")
