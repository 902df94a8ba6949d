"""What every command does alike."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from tai_dpt.cli.command import Command
from tai_dpt.cli.main import COMMANDS, cli
from tai_dpt.cli.train import main as train
from tai_dpt.io.console import say, step_bar
from tai_dpt.labels.wordnet import has_wordnet

from places import ROOT, TESTS
from taggers import photo, run


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_note_stands_above_a_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with step_bar() as step:
        step(1, 4, 0.5)
        say("a note")
        step(4, 4, 0.25)
    before, _, after = terminal.getvalue().partition("a note\n")
    assert before.rpartition("\r")[2] == "" and "learning" in before
    assert "4/4" in after and "loss 0.25" in after


def found(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Each with its words; those of a group in place of the group. ``train`` parses by itself."""
    for name in COMMANDS:
        command = found(name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {part}", each) for part, each in command.commands.items())
        elif name != "train":
            yield name, command


PLAIN = dict(every_command())


def single_options(name: str) -> list[click.Option]:
    return [
        p
        for p in PLAIN[name].params
        if isinstance(p, click.Option) and not p.is_flag and not p.multiple
    ]


def value_of(option: click.Option) -> str:
    """One that the option's type takes."""
    if isinstance(option.type, click.Choice):
        return str(option.type.choices[0])
    return "1"


CASES = [(name, o.opts[0]) for name in PLAIN for o in single_options(name)]


@pytest.mark.parametrize(("name", "flag"), CASES, ids=lambda value: value)
def test_an_option_that_takes_one_value_refuses_two(name, flag):
    (option,) = (o for o in single_options(name) if flag in o.opts)
    twice = [flag, value_of(option), flag, value_of(option)]
    code, _, err = run(*name.split(), *twice)
    assert code == 2
    assert f"{flag} was given 2 times and takes one value" in err


BESIDE = {
    "calibrate T --expect 2 --captions x": "--expect goes with --images: add that",
    "calibrate T --zero absent --images x": "--zero goes with --labelled: add that, or leave",
    "corpus --examples 3": "--examples goes with --class or --dropped: add one of these",
    "fit --classes x --out y --method concepts --epochs 2": "goes with --method tai-dpt, comc or "
    "mix, not concepts: choose one of these, or leave --epochs out",
    "fuse a b --overwrite": "--overwrite goes with --out or --curve",
    "grow-vocabulary voc2007 --half odd": "--half goes with --evidence",
    "label x --classes voc2007 --preset paper --grow": "--grow goes with --preset default, not",
    "report x --html y --ci95": "--ci95 does nothing beside --html: leave one of them out",
    "rescore x --sharpness 2": "--sharpness goes with --rectify softmax, not standardise",
    "sweep table1 emoji_scenes --shots 2": "--shots goes with figure6 or table3, not table1",
    "tag T x --xmp-name stem": "--xmp-name goes with --format xmp: choose that",
}


@pytest.mark.parametrize("line", BESIDE)
def test_an_option_that_would_do_nothing_beside_the_others_is_refused(line):
    code, _, err = run(*line.split())
    assert code == 2
    assert BESIDE[line] in err


def test_what_options_count_beside_is_of_their_command():
    for name, command in PLAIN.items():
        choices = {p.name: getattr(p.type, "choices", ()) for p in command.params}
        for option, beside in command.counts.items():
            for it in beside:
                assert option in choices and set(it.values) <= set(choices[it.name]), name


def test_a_variable_may_be_for_another_sweep(monkeypatch):
    monkeypatch.setenv("SHOTS", "2")
    assert run("sweep", "table1", "emoji_scenes", "--dry-run")[0] == 0


@pytest.mark.parametrize("name", PLAIN)
def test_every_command_is_of_that_class(name):
    assert isinstance(PLAIN[name], Command)


@pytest.mark.parametrize("name", ["", "train", "emoji-scenes", *PLAIN])
def test_help_fits_a_terminal_of_80_columns(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(*name.split(), "--help")
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert "\\b" not in out  # click's mark of text that is not to be wrapped
    if name in {"train", *PLAIN}:
        assert "--json" in out and "--quiet" in out


@pytest.mark.parametrize("name", PLAIN)
def test_each_option_is_explained_by_a_sentence_about_options_that_are_there(name):
    known = {option for each in PLAIN[name].params for option in each.opts}
    for option in PLAIN[name].params:
        if isinstance(option, click.Option):
            sentence = (option.help or "").partition("[default")[0].strip()
            assert re.fullmatch(r"[^a-z].*\.", sentence), (option.opts, sentence)
            assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", sentence)) <= known, sentence


def test_of_trains_flags_the_last_counts_as_in_coop(capsys):
    assert train(["--seed", "1", "--config-file", "a.yaml", "--config-file", "b.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("warning: --config-file was given twice: the last counts\n")
    assert "b.yaml" in said.splitlines()[-1]


# a quick call of every command, and what its document holds
CALLS = {
    "demo": ("--out OUT --epochs 1", "mAP"),
    "train": (
        "--trainer ZSCLIP --root DATA --output-dir OUT --no-train"
        " --dataset-config-file CONFIGS/datasets/emoji_scenes.yaml"
        " --config-file CONFIGS/trainers/ZSCLIP/emoji_scenes.yaml",
        "metrics",
    ),
    "sweep": ("table1 emoji_scenes --out OUT --dry-run", "runs"),
    "fit": (
        "--classes DESK/classes.txt --backbone emoji_scenes --epochs 1 --out OUT",
        "calibration",
    ),
    "tag": ("DESK/tagger DESK/a.png --backbone emoji_scenes", ""),
    "merge-tags": ("DESK/tags.csv", "parts"),
    "app": ("DESK/tagger --backbone emoji_scenes --port 0 --labels OUT", "url"),
    "explain": ("DESK/tagger DESK/a.png --backbone emoji_scenes", "images"),
    "calibrate": ("DESK/tagger --captions DESK/captions.txt --backbone emoji_scenes", "slope"),
    "adapt": ("DESK/tagger DESK/a.png --backbone emoji_scenes --out OUT", "patches"),
    "export": ("DESK/tagger --backbone emoji_scenes --out OUT", "written"),
    "convert-weights": ("DATA/emoji_scenes/clip.safetensors OUT", "tensors"),
    "page": ("DESK/run --per-class 0", "page"),
    "cache": ("", ""),
    "backbones": ("", "backbones"),
    "check-data": ("--root DATA voc2007", "to_do"),
    "completion": ("bash", "script"),
    "get-data": ("voc2007 --root OUT --dry-run", "to_fetch"),
    "reproduce": ("table1 emoji_scenes --dry-run", "table1"),
    "grow-vocabulary": ("voc2007", "classes"),
    "label": ("DESK/captions.txt --classes coco2014", ""),
    "corpus": ("--captions DESK/captions.txt --classes DESK/classes.txt", "learned_from"),
    "fuse": ("DESK/run DESK/run", "fusion"),
    "rescore": ("DESK/run", "rescored_from"),
    "report": ("DESK/run", "tables"),
    "emoji-scenes build": ("--scale 0.002 --out OUT", "captions"),
}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    for name in ("tagger", "run"):
        shutil.copytree(TESTS / "reference/v0.1" / name, tmp_path / name)
    results = json.loads((tmp_path / "run/results.json").read_text())
    (tmp_path / "run/results.json").write_text(json.dumps({**results, "images": 40}))
    (tmp_path / "tags-0-of-1.csv").write_text("image,class,probability,score\n")
    made_by = json.dumps({"--format": "csv", "--shard": "0/1"})
    (tmp_path / ".tags-0-of-1.csv.made-by.json").write_text(made_by)
    (tmp_path / "classes.txt").write_text("dog\ncar\n")
    (tmp_path / "captions.txt").write_text("a dog\na car\nnothing\n" * 20)
    photo(tmp_path / "a.png")
    return tmp_path


@pytest.fixture
def no_training(monkeypatch) -> None:
    """Runs that are finished at once."""
    metrics = dict.fromkeys(("merged", "global", "local"), SimpleNamespace(mAP=50.0))
    done = SimpleNamespace(
        evaluator=SimpleNamespace(results=metrics), images={"test": [0]}, num_classes=1
    )
    monkeypatch.setattr("tai_dpt.trainers.run.run", lambda *_, **__: done)
    monkeypatch.setattr("tai_dpt.reports.predictions.draw_predictions", lambda *_: None)


def test_every_command_has_a_call():
    slow = {"emoji-scenes sprites", "emoji-scenes train-clip"}  # network; 45 minutes
    assert set(CALLS) | slow == {"train", *PLAIN}


@pytest.mark.parametrize("name", CALLS)
def test_json_is_one_document_and_quiet_is_quiet(name, desk, request, monkeypatch):
    if name == "demo":
        request.getfixturevalue("no_training")
    if name == "app":  # it ends with Ctrl-C
        monkeypatch.setattr("socketserver.BaseServer.serve_forever", lambda _: None)
    if name == "grow-vocabulary" and not has_wordnet():
        pytest.skip("WordNet is not installed")
    arguments, key = CALLS[name]
    places = {"DESK": desk, "OUT": desk / "out", "DATA": ROOT / "data", "CONFIGS": ROOT / "configs"}
    for word, place in places.items():
        arguments = arguments.replace(word, str(place))
    code, out, err = run(*name.split(), *arguments.split(), "--json", "--quiet")
    assert (code, err) == (1 if name == "check-data" else 0, "")
    document = json.loads(out)
    assert key in document if key else isinstance(document, list)


@pytest.mark.parametrize(
    "line",
    [
        ("get-data", "voc2007", "--root", ""),
        ("report", ""),
        ("label", "c.txt", "--classes", ""),
        ("calibrate", "t", "--captions", "c.txt", "--captions", ""),
    ],
    ids=lambda line: line[0],
)
def test_an_empty_name_is_no_file(line):
    """As "$DATA" is where it is not set, of which pathlib makes the current folder."""
    code, _, err = run(*line)
    assert code == 2
    assert " is empty, as is a shell's variable" in err


def test_a_home_is_found_where_no_shell_did(monkeypatch, tmp_path):
    """Of --out=~/x bash leaves the ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.txt").write_text("a dog\n")
    assert run("label", tmp_path / "c.txt", "--classes=coco2014", "--out=~/labels")[0] == 0
    assert "dog" in (tmp_path / "labels").read_text()
    code, _, err = run("label", tmp_path / "c.txt", "--classes=coco2014", "--out=~no_body/x")
    assert code == 2
    assert "'~no_body' is nobody's home" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("tag", "t", "a.png", "--top", "1.5"), "'--top': '1.5' is no whole number"),
        (("tag", "t", "a.png", "--threshold", "x"), "'--threshold': 'x' is no number"),
        (("fuse", "a", "b", "--weight", ""), "'--weight': '' is no number"),
    ],
)
def test_what_is_no_number_is_said_plainly(line, message):
    code, _, err = run(*line)
    assert code == 2
    assert message in err


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_an_option_takes_finite_numbers(number):
    code, _, err = run("rescore", "r", "--rectify", "softmax", "--sharpness", number)
    assert code == 2
    assert f"--sharpness': {number} is no number to work with" in err
