"""The token cache: the same ids the second time, and a damaged file is made again."""

from __future__ import annotations

import pytest

from tai_dpt.trainers.tokens import cached_tokens

TEXTS = ["a dog!", "two people " * 60, "", "a traffic light"]


def test_second_time_from_the_file(golden_backbone, tmp_path, monkeypatch):
    first = cached_tokens(golden_backbone, TEXTS, digest="a" * 64, folder=tmp_path)
    assert first == golden_backbone.tokenize(TEXTS)
    monkeypatch.setattr(golden_backbone, "tokenize", None)
    assert cached_tokens(golden_backbone, TEXTS, digest="a" * 64, folder=tmp_path) == first


def test_nothing_is_kept_without_a_folder(golden_backbone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cached_tokens(golden_backbone, TEXTS, digest="a" * 64, folder=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 100])
def test_a_damaged_file_is_made_again(golden_backbone, tmp_path, keep):
    first = cached_tokens(golden_backbone, TEXTS, digest="a" * 64, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.warns(UserWarning, match="tokenising again"):
        again = cached_tokens(golden_backbone, TEXTS, digest="a" * 64, folder=tmp_path)
    assert again == first
    assert cached_tokens(golden_backbone, TEXTS, digest="a" * 64, folder=tmp_path) == first


def test_a_folder_that_cannot_be_written_costs_a_warning(golden_backbone, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"tokens are not kept .*: set TAI_DPT_CACHE to a folder"):
        tokens = cached_tokens(golden_backbone, TEXTS, digest="a" * 64, folder=tmp_path / "file")
    assert tokens == golden_backbone.tokenize(TEXTS)
