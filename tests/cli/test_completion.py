"""What a shell completes, through the interface that shells use."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tai_dpt.cli.completion import VARIABLE
from tai_dpt.cli.main import main

from taggers import run


def completed(monkeypatch, capsys, line: str) -> list[str]:
    """What bash is told about ``line``, whose last word is begun: ``type,value`` each."""
    monkeypatch.setenv(VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr().out.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tai-dpt ca", ["plain,calibrate", "plain,cache"]),
        ("tai-dpt fit --backbone RN50x", ["plain,RN50x4", "plain,RN50x16", "plain,RN50x64"]),
        ("tai-dpt tag mine a.png --backbone emo", ["plain,emoji_scenes"]),
        ("tai-dpt backbones ViT-L", ["plain,ViT-L/14", "plain,ViT-L/14@336px"]),
        ("tai-dpt label a.txt --classes coco", ["plain,coco2014", "plain,coco_mine.txt"]),
        ("tai-dpt grow-vocabulary nus", ["plain,nuswide"]),
        ("tai-dpt check-data --root x flickr", ["plain,flickr8k", "plain,flickr30k"]),
        ("tai-dpt sweep table1 emoji", ["plain,emoji_scenes"]),
        ("tai-dpt sweep figure", ["plain,figure6", "plain,figure7"]),
        ("tai-dpt rescore run --rectify s", ["plain,standardise", "plain,softmax"]),
        ("tai-dpt train --trainer TaIDPTE", ["plain,TaIDPTEnsemble"]),
        ("tai-dpt fit --cap", ["plain,--captions"]),
        # files, by the shell itself
        ("tai-dpt tag mine phot", ["file,phot"]),
        ("tai-dpt label cap", ["file,cap"]),
        ("tai-dpt label a.txt --classes my/cl", ["file,my/cl"]),
        ("tai-dpt train --config-file conf", ["file,conf"]),
        ("tai-dpt page out", ["file,out"]),
    ],
)
def test_names_and_files(line, expected, monkeypatch, capsys, tmp_path):
    (tmp_path / "coco_mine.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert completed(monkeypatch, capsys, line) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(shell):
    code, out, _ = run("completion", shell)
    assert code == 0 and f"{VARIABLE}={shell}_complete" in out
    if program := shutil.which(shell):
        subprocess.run([program, "-n"], input=out, text=True, check=True)


def test_a_shell_that_is_not_known(monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert "name bash, zsh or fish" in run("completion")[2]
