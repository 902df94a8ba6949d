"""Sharing a tagger: its card, and a hub, whose HTTP interface a server here stands in for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from tai_dpt import Tagger
from tai_dpt.errors import InputError
from tai_dpt.tagger.adapting import adapt

from library_models import save_transformers
from taggers import CAPTIONS, CLASSES, OPTIONS, new_tagger, photo, weight_file

constants = pytest.importorskip("huggingface_hub.constants")
TOKEN = "hf_secret"


class Hub(BaseHTTPRequestHandler):
    """Models, a commit each, as far as ``huggingface_hub`` asks for them."""

    models: dict[str, dict[str, bytes]]
    asked: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.models.setdefault(name, {})
            self.answer({"url": f"http://{self.headers['Host']}/{name}", "id": name})
        elif path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": f["path"], "uploadMode": "regular"} for f in json.loads(body)["files"]
            ]
            self.answer({"files": [file | {"shouldIgnore": False} for file in files]})
        elif "/commit/" in path:
            name = "/".join(path.split("/")[3:5])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    self.models[name][value["path"]] = base64.b64decode(value["content"])
            url = f"http://{self.headers['Host']}/{name}/commit/{sha(self.models[name])}"
            self.answer({"success": True, "commitUrl": url, "commitOid": sha(self.models[name])})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.asked.append(path)
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name not in self.models:
            self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        files = self.models[name]
        revision = parts[parts.index("revision") + 1] if "revision" in parts else "main"
        if revision not in ("main", sha(files)):
            error = {"X-Error-Code": "RevisionNotFound"}
            self.answer({"error": f"Invalid rev id: {revision}"}, 404, error)
        elif parts[0] != "api" and parts[-1] not in files:
            self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        elif parts[0] != "api":
            content = files[parts[-1]]
            about = {"ETag": f'"{blob(content)}"', "X-Repo-Commit": sha(files)}
            self.answer(content, 200, about)
        elif "tree" in parts:
            self.answer(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
                    for path, content in files.items()
                ]
            )
        else:
            self.answer({"id": name, "sha": sha(files), "siblings": [], "private": False})

    do_HEAD = do_GET

    def answer(self, content, code=200, headers=()) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def sha(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


def blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def models(monkeypatch, tmp_path):
    """What the hub holds, by name; the library asks it alone."""
    Hub.models, Hub.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    template = base + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", base)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield Hub.models
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return new_tagger(tmp_path_factory.mktemp("weights"))


def test_a_tagger_goes_to_the_hub_and_comes_back(models, tagger, tmp_path):
    address = tagger.push_to_hub("me/dogs", token=TOKEN)
    assert address.endswith(f"/me/dogs/commit/{sha(models['me/dogs'])}")
    assert {Path(name).suffix for name in models["me/dogs"]} == {".json", ".safetensors", ".md"}
    assert str(tagger.backbone_file) not in models["me/dogs"]["tagger.json"].decode()
    back = Tagger.from_pretrained("me/dogs", device="cpu")
    image = photo(tmp_path / "a.png")
    assert back.predict([image]) == tagger.predict([image])


@pytest.mark.filterwarnings("ignore:.*few to adapt", "ignore:the tagger found none")
@pytest.mark.parametrize("method", ["mix", "comc", "piaa"])
def test_a_tagger_of_each_method_comes_back(models, tmp_path, method):
    given = {"classes": CLASSES, "captions": CAPTIONS, "backbone": weight_file(tmp_path)}
    made = "tai-dpt" if method == "piaa" else method
    sent = Tagger.from_captions(**given, method=made, options=OPTIONS)
    image = photo(tmp_path / "a.png")
    if method == "piaa":
        sent = adapt(sent, [image]).tagger
    sent.push_to_hub("me/other", token=TOKEN)
    back = Tagger.from_pretrained("me/other", device="cpu")
    assert back.method == sent.method and back.method.name == method
    np.testing.assert_array_equal(back.scores(image), sent.scores(image))
    card = models["me/other"]["README.md"].decode()
    assert ("made from unlabelled images" in card) == (method == "piaa")
    assert ("| adapted to | 1 unlabelled images, " in card) == (method == "piaa")


def test_a_librarys_model_of_this_machine_does_not_go_along(models, tmp_path):
    pytest.importorskip("transformers")
    save_transformers(tmp_path, "clip_gelu")
    name = f"transformers:{tmp_path}"
    sent = new_tagger(tmp_path, name)
    with pytest.warns(
        UserWarning, match=f"{name} is on this machine and does not go along"
    ) as told:
        sent.push_to_hub("me/other", token=TOKEN)
    assert sum("go along" in str(each.message) for each in told) == 1
    image = photo(tmp_path / "a.png")
    elsewhere = tmp_path.rename(tmp_path.with_name("elsewhere"))
    with pytest.raises(InputError, match=r"transformers:.*"):
        Tagger.from_pretrained("me/other")
    back = Tagger.from_pretrained("me/other", backbone=f"transformers:{elsewhere}")
    np.testing.assert_array_equal(
        back.scores(elsewhere / image.name), sent.scores(elsewhere / image.name)
    )


def test_a_newer_one_is_fetched_and_without_a_network_the_cached(models, tagger, monkeypatch):
    tagger.push_to_hub("me/dogs", token=TOKEN)
    Tagger.from_pretrained("me/dogs")
    asked = len(Hub.asked)
    Tagger.from_pretrained("me/dogs")
    assert not [path for path in Hub.asked[asked:] if "/resolve/" in path]
    about = json.loads(models["me/dogs"]["tagger.json"])
    about["about"]["note"] = "newer"
    models["me/dogs"]["tagger.json"] = json.dumps(about).encode()
    assert Tagger.from_pretrained("me/dogs").provenance["note"] == "newer"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Tagger.from_pretrained("me/dogs").provenance["note"] == "newer"


def test_a_librarys_model_in_a_folder_does_not_go_along_and_its_place_is_nobodys(
    models, tmp_path, monkeypatch
):
    pytest.importorskip("transformers")
    sent = new_tagger(tmp_path)
    sent.backbone_file, sent.backbone.name = None, f"transformers:{tmp_path}/model"
    told = r"model is on this machine and does not go along: who loads .*backbone=…\)"
    with pytest.warns(UserWarning, match=told):
        sent.push_to_hub("me/dogs", token=TOKEN)
    assert not [name for name, file in models["me/dogs"].items() if str(tmp_path).encode() in file]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"\(.*no such folder\): say where the same weights are"):
        Tagger.from_pretrained("me/dogs")
    back = Tagger.from_pretrained("me/dogs", backbone=sent.backbone)
    image = photo(tmp_path / "a.png")
    np.testing.assert_array_equal(back.scores(image), sent.scores(image))


def test_nothing_that_could_run_is_fetched(models, tagger):
    tagger.push_to_hub("me/dogs", token=TOKEN)
    files = models["me/dogs"]
    files["backbone.pt"] = files.pop("backbone.safetensors")
    files["checkpoints/step100.safetensors"] = b""
    about = json.loads(files["tagger.json"])
    about["backbone"]["file"] = "backbone.pt"
    about["files"]["backbone.pt"] = about["files"].pop("backbone.safetensors")
    files["tagger.json"] = json.dumps(about).encode()
    with pytest.raises(InputError, match=r"is not whole: backbone.pt is missing"):
        Tagger.from_pretrained("me/dogs")
    assert not [path for path in Hub.asked if path.endswith(".pt") or "checkpoints" in path]


@pytest.mark.parametrize(
    "head", ["---\nlicense: mit\n---\n", "---\r\nlicense: mit\r\n---", "", "\n"]
)
def test_what_people_wrote_in_a_card_on_the_hub_stays(models, tagger, head):
    models["me/dogs"] = {"README.md": head.encode()}  # as a hub makes it
    tagger.push_to_hub("me/dogs", token=TOKEN)
    card = models["me/dogs"]["README.md"].decode()
    assert card.startswith(head.strip().replace("\r", ""))
    assert card.count("# A tagger of 3 classes") == 1
    models["me/dogs"]["README.md"] = f"{card}\nWhat I found out\n".encode()
    calibrated, tagger.calibration = tagger.calibration, None
    try:
        tagger.push_to_hub("me/dogs", token=TOKEN)
    finally:
        tagger.calibration = calibrated
    newer = models["me/dogs"]["README.md"].decode()
    assert newer.endswith("\nWhat I found out\n") and "Not calibrated" in newer


def test_errors_are_one_line(models, tagger, tmp_path, monkeypatch):
    for name, message in (
        ("me/cats", "me/cats, which is no folder here: .*404.*is the name right, do you have"),
        ("no\nfolder", r"'no\\nfolder' is neither a folder nor a hub's 'user/name'"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            Tagger.from_pretrained(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"cannot upload to me/dogs: .*401"):
        tagger.push_to_hub("me/dogs", token="hf_other")
    for token in (f"{TOKEN}\n", ""):
        with pytest.raises(InputError, match="the token is empty, or has blanks") as caught:
            tagger.push_to_hub("me/dogs", token=token)
        assert TOKEN not in str(caught.value)
    models["me/latin"] = {"README.md": b"caf\xe9"}
    with pytest.raises(InputError, match=r"README.md of me/latin is not UTF-8"):
        tagger.push_to_hub("me/latin", token=TOKEN)
    tagger.push_to_hub("me/dogs", token=TOKEN)
    with pytest.raises(InputError, match=r"cannot fetch me/dogs.*: .*(404|v9)") as caught:
        Tagger.from_pretrained("me/dogs", revision="v9")
    assert "\n" not in str(caught.value)
    models["me/empty"] = {"README.md": b"hello"}
    with pytest.raises(InputError, match="not a tagger"):
        Tagger.from_pretrained("me/empty")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'tai-dpt\[hub\]'"):
        Tagger.from_pretrained("me/dogs")


def test_a_folder_is_a_name_too(tagger, tmp_path):
    tagger.save(tmp_path / "mine")
    assert Tagger.from_pretrained(tmp_path / "mine").classes_.tolist() == CLASSES


def test_the_card_says_what_there_is_to_say(tagger, tmp_path):
    tagger.save(tmp_path / "mine")
    card = (tmp_path / "mine/README.md").read_text()
    captions = tagger.provenance["captions"]
    for text in (
        "library_name: tai-dpt",
        "**Classes:** dog, car, traffic light",
        f"{captions['learned_from']:,} texts: captions, and class names in templates; "
        f"{captions['held_out']:,} held out",
        "in this folder; SHA-256 " + tagger.backbone.weights_hash[:12],
        "licence of its weights: unknown",
        "- a class is said to be there from a probability of ",
        'Tagger.from_pretrained("user/name")',
    ):
        assert text in card


def test_what_people_write_in_a_card_stays(tagger, tmp_path):
    from tai_dpt.tagger.folder import write_calibration

    folder = tmp_path / "mine"
    tagger.save(folder)
    card = folder / "README.md"
    card.write_text("MINE ABOVE\n" + card.read_text() + "\nMINE BELOW\n")
    calibration = tagger.calibration.aligned(tagger.scores([photo(tmp_path / "a.png")] * 10))
    write_calibration(folder, calibration, tagger.scoring)
    calibrated = card.read_text()
    assert "brought into line with 10 unlabelled images" in calibrated
    tagger.save(folder, overwrite=True)
    assert "brought into line" not in card.read_text()
    for text in (calibrated, card.read_text()):
        assert text.startswith("MINE ABOVE\n---") and text.endswith("\nMINE BELOW\n")
    card.write_text("all mine")
    tagger.save(folder, overwrite=True)
    assert card.read_text() == "all mine"


def test_names_are_shown_as_they_are(tmp_path, tagger):
    from tai_dpt.tagger.card import write_card

    tagger.save(tmp_path / "mine")
    content = json.loads((tmp_path / "mine/tagger.json").read_text())
    content["class_names"] = ["R&B | <b>live</b>", "*dog* ~~$x$~~", "&lt;\n\n# [a](b)"]
    write_card(tmp_path / "mine", content)
    card = (tmp_path / "mine/README.md").read_text()
    assert r"R&B \| \<b\>live\</b\>, \*dog\* \~\~\$x\$\~\~, \&lt; \# \[a\](b)" in card
