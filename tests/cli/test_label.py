"""``tai-dpt label`` as a person runs it."""

import json

import pytest
from click.testing import CliRunner

from tai_dpt.cli.label import label
from tai_dpt.errors import InputError


def run(*arguments, **options):
    result = CliRunner().invoke(label, [str(a) for a in arguments], **options)
    if isinstance(result.exception, InputError):
        raise result.exception
    return result


def test_a_json_line_per_caption_in_order(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("Two men.\n\nNothing\nA “hot dog”\n", encoding="utf-8")
    result = run("--vocabulary", "coco2014", path)
    assert result.exit_code == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"caption": "Two men.", "labels": ["person"]},
        {"caption": "Nothing", "labels": []},
        {"caption": "A “hot dog”", "labels": ["hot dog"]},
    ]


def test_own_classes_standard_input_and_a_file(tmp_path):
    classes, out = tmp_path / "classes.txt", tmp_path / "new" / "labels.jsonl"
    classes.write_text("Zebra\n")
    result = run(
        "--vocabulary", classes, "--no-grow", "--out", out, "-", input="zebras\r\ncats\r\n"
    )
    assert result.exit_code == 0
    assert result.stdout == ""
    labels = [json.loads(line)["labels"] for line in out.read_text().splitlines()]
    assert labels == [["Zebra"], []]


def test_bad_input_writes_nothing(tmp_path):
    out = tmp_path / "labels.jsonl"
    path = tmp_path / "captions.jsonl"
    path.write_text('{"caption": "a dog"}\n{"cap')
    with pytest.raises(InputError, match=r"captions\.jsonl, line 2: not valid JSON"):
        run("--vocabulary", "coco2014", "--out", out, path)
    with pytest.raises(InputError, match="unknown vocabulary 'coco2015'"):
        run("--vocabulary", "coco2015", "--out", out, path)
    with pytest.raises(InputError, match="standard input: no captions in it"):
        run("--vocabulary", "coco2014", "--out", out, "-", input="\n")
    assert not out.exists()


def test_skipped_lines_are_told_on_stderr(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text('{"caption": "a dog"}\n{"cap')
    result = run("--vocabulary", "coco2014", "--on-bad-line", "skip", path)
    assert result.exit_code == 0
    assert "skipped 1 bad line: line 2" in result.stderr


def test_standard_input_of_other_formats_and_what_is_no_text(tmp_path):
    result = run("--vocabulary", "coco2014", "-", input='["a dog", "a cat"]')
    assert [json.loads(line)["labels"] for line in result.stdout.splitlines()] == [["dog"], ["cat"]]
    result = run("--vocabulary", "coco2014", "-", input="a dog\ra cat\r")
    assert len(result.stdout.splitlines()) == 2
    with pytest.raises(InputError, match="standard input, line 1: not a text file"):
        run("--vocabulary", "coco2014", "-", input="a d\0og\n")
    with pytest.raises(InputError, match="standard input is not UTF-8"):
        run("--vocabulary", "coco2014", "-", input=b"a d\xffog\n")
