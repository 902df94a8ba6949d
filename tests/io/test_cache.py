"""Where the cache is."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tai_dpt.datasets.config import cache_folder, extend_dataset_cfg
from tai_dpt.errors import InputError
from tai_dpt.io.cache import cache_root
from tai_dpt.io.output import os_error
from tai_dpt.toolbox import get_cfg_default


def test_the_variable_wins_over_the_systems_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAI_DPT_CACHE", "~/kept")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / "kept"
    monkeypatch.delenv("TAI_DPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "tai-dpt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / ".cache" / "tai-dpt"


def test_a_home_that_nobody_has_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAI_DPT_CACHE", "~no_body/kept")
    with pytest.raises(InputError, match="'~no_body' is nobody's home here"):
        cache_root()
    assert "No space left" in os_error(OSError(errno.ENOSPC, "No space left"), at="x")


def test_an_option_wins_over_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAI_DPT_CACHE", str(tmp_path / "variable"))
    cfg = get_cfg_default()
    extend_dataset_cfg(cfg)
    assert cache_folder(cfg) == tmp_path / "variable"
    cfg.FEATURES.DIR = str(tmp_path / "option")
    assert cache_folder(cfg) == tmp_path / "option"
    cfg.FEATURES.CACHE = "memory"
    assert cache_folder(cfg) is None
