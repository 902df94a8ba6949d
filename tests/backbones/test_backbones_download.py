"""Published weights by name: a small server here plays the publisher."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import ssl
import sys
import threading
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save

from tai_dpt.backbones import clip_package, load_backbone
from tai_dpt.backbones.clip_package import published_files
from tai_dpt.backbones.download import NAMES, download
from tai_dpt.errors import InputError

from clips import golden_state
from publisher import publish

DATA = save(golden_state())
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture()
def publisher(monkeypatch):
    """Serves ``DATA`` for every name but one; what was asked for is counted."""
    monkeypatch.setattr("tai_dpt.io.download._WAITS", ())
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with publish({"RN50.pt": DATA, "RN101.pt": DATA}) as server:
        table = {
            "RN50": server.url(f"{SHA256}/RN50.pt"),
            "RN101": server.url(f"{'0' * 64}/RN101.pt"),
            "ViT-B/32": server.url(f"gone/{SHA256}/ViT-B-32.pt"),
        }
        monkeypatch.setattr("tai_dpt.backbones.download.published_files", lambda: (table, "clip"))
        yield server


def test_a_file_is_downloaded_once_and_checked(publisher, tmp_path):
    backbone = load_backbone("RN50", download_dir=tmp_path / "new")
    assert backbone.name == "RN50"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["RN50.pt"]
    load_backbone("RN50", download_dir=tmp_path / "new")
    assert len(publisher.asked) == 1


def test_a_broken_file_is_replaced(publisher, tmp_path, caplog):
    (tmp_path / "RN50.pt").write_bytes(DATA[:100])
    assert download("RN50", folder=tmp_path).read_bytes() == DATA
    assert "does not have the published checksum" in caplog.text


def test_what_arrives_wrong_is_not_kept(publisher, tmp_path):
    with pytest.raises(InputError, match=r"the download of 'RN101.pt' has the wrong checksum"):
        download("RN101", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_was_cut_off_goes_on(publisher, tmp_path):
    publisher.cuts = [len(DATA) // 2]
    with pytest.raises(InputError, match=r"cannot download 'RN50' \(it ended after"):
        download("RN50", folder=tmp_path)
    assert download("RN50", folder=tmp_path).read_bytes() == DATA
    assert publisher.asked[-1][1] == f"bytes={len(DATA) // 2}-"


def test_a_file_that_is_gone_is_reported(publisher, tmp_path):
    with pytest.raises(InputError, match=r"cannot download 'ViT-B/32' \(.*put it at '.*ViT-B-32"):
        download("ViT-B/32", folder=tmp_path)


def test_a_name_that_this_copy_of_clip_does_not_know(publisher, tmp_path):
    with pytest.raises(InputError, match=r"copy of clip in .* does not list 'ViT-L/14'"):
        download("ViT-L/14", folder=tmp_path)


def test_without_a_network_it_is_said_where_to_put_the_file(publisher, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("tai_dpt.io.download.urlopen", offline)
    with pytest.raises(InputError) as caught:
        load_backbone("RN50", download_dir=tmp_path)
    message = str(caught.value)
    assert message.startswith("cannot download 'RN50' (Network is unreachable): fetch http")
    assert f"put it at '{tmp_path / 'RN50.pt'}'" in message
    assert "or pass the path of a local weight file" in message
    assert not list(tmp_path.iterdir())


def test_a_file_put_there_by_hand_needs_no_network(publisher, tmp_path):
    (tmp_path / "RN50.pt").write_bytes(DATA)
    assert load_backbone("RN50", download_dir=tmp_path, dtype=torch.bfloat16).embed_dim == 32
    assert not publisher.asked


def test_a_folder_that_cannot_be_made_is_reported(publisher, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"cannot write .* \(.*\): set TAI_DPT_CACHE to a folder"):
        download("RN50", folder=tmp_path / "file" / "below")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_said(publisher, tmp_path, monkeypatch, number):
    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"disk or your quota is full\): set TAI_DPT_CACHE"):
        download("RN50", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["RN50.pt.part"]


def test_a_certificate_and_a_proxy_are_named(publisher, tmp_path, monkeypatch):
    errors = [ssl.SSLCertVerificationError("self-signed"), OSError("Tunnel connection failed: 407")]
    monkeypatch.setenv("http_proxy", "http://someone:secret@proxy.example:3128")

    def fail(*_, **__):
        raise URLError(errors.pop(0))

    monkeypatch.setattr("tai_dpt.io.download.urlopen", fail)
    with pytest.raises(InputError, match=r"certificate with SSL_CERT_FILE: fetch http"):
        download("RN50", folder=tmp_path)
    with pytest.raises(InputError, match=r"407\); the proxy proxy.example:3128 was") as caught:
        download("RN50", folder=tmp_path)
    assert "secret" not in str(caught.value)


def test_where_files_go_and_where_they_are_found(publisher, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TAI_DPT_CACHE", raising=False)
    shared = tmp_path / ".cache/clip/RN50.pt"
    assert download("RN50") == shared
    monkeypatch.setenv("TAI_DPT_CACHE", str(tmp_path / "big"))
    assert download("RN50") == shared
    shared.unlink()
    assert download("RN50") == tmp_path / "big/clip/RN50.pt"
    assert len(publisher.asked) == 2


def test_the_installed_clip_lists_published_files_with_their_checksums():
    table, _ = published_files()
    assert {"RN50", "RN101", "ViT-B/16"} <= set(NAMES) & set(table)  # old copies lack some others
    for url in table.values():
        assert len(url.split("/")[-2]) == 64


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "is not installed: pip install clip-anytorch"),
        ({"clip.py": ""}, r"in .*clip.py is not OpenAI's CLIP \(it has no 'clip.model'\)"),
        ({"clip/__init__.py": ""}, r"is not OpenAI's CLIP \(it has no 'clip.model'\)"),
        (
            {"clip/__init__.py": "", "clip/model.py": "import no_such_package"},
            "cannot import the package 'clip': No module named 'no_such_package'",
        ),
    ],
)
def test_a_clip_that_cannot_be_imported_is_reported(tmp_path, monkeypatch, files, message):
    for name in [name for name in sys.modules if name.partition(".")[0] == "clip"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *([] if files is None else sys.path)])
    for name, code in (files or {}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    importlib.invalidate_caches()
    monkeypatch.setattr(clip_package, "_submodule", clip_package._submodule.__wrapped__)
    with pytest.raises(InputError, match=message):
        clip_package.clip_class()


def test_of_two_that_need_a_file_one_fetches_it(publisher, tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(download("RN50", folder=tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert found == [tmp_path / "RN50.pt"] * 3
    assert len(publisher.asked) == 1
