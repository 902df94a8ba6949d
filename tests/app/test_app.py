"""``tai-dpt app``: over plain HTTP, and driven by a real browser."""

from __future__ import annotations

import dataclasses
import errno
import functools
import http.client
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import urlencode

import pytest

from tai_dpt.app.corrections import Corrections
from tai_dpt.app.desk import Desk
from tai_dpt.app.server import MOST_BYTES, PageServer
from tai_dpt.datasets.label_files import read_label_file
from tai_dpt.errors import InputError, Stopped

from browser import BROWSER, new_page
from library_models import save_open_clip, save_transformers
from taggers import CLASSES, new_tagger, photo, run


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return new_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A tagger of a vision transformer of a library, by ``library:kind``; each is fitted once."""

    @functools.cache
    def fitted(name: str):
        library, _, kind = name.partition(":")
        folder = tmp_path_factory.mktemp("model")
        if library == "open_clip":
            pytest.importorskip("open_clip")
            return new_tagger(folder, f"hf-hub:{save_open_clip(folder, kind)}")
        pytest.importorskip("transformers")
        save_transformers(folder, kind)
        return new_tagger(folder, f"transformers:{folder}")

    return fitted


@contextmanager
def serving(tagger, folder: Path) -> Iterator[PageServer]:
    desk = Desk(tagger, Corrections(folder, tagger.vocabulary))
    with PageServer(desk, host="127.0.0.1", port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server(tagger, tmp_path) -> Iterator[PageServer]:
    with serving(tagger, tmp_path / "corrections") as server:
        yield server


def ask(server, path: str, body: bytes | None = None, headers=None, **fields):
    """(status, content): the answer as it came over the wire."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    method = "GET" if body is None else "POST"
    if fields:
        path += "?" + urlencode(fields, doseq=True)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    is_json = answer.headers["Content-Type"].startswith("application/json")
    return answer.status, json.loads(content) if is_json else content.decode()


def test_the_page_loads_its_own_files_alone(server) -> None:
    status, page = ask(server, "/")
    assert status == 200 and '<label for="files">' in page
    for name in ("base.css", "app.css", "app.js"):
        assert name in page and ask(server, f"/{name}")[0] == 200
        assert "http" + "://" not in ask(server, f"/{name}")[1]
    assert ask(server, "/tagger")[1]["classes"] == server.desk.tagger.classes_.tolist()


def test_what_is_decided_is_up_to_the_calibration(tagger, tmp_path, monkeypatch) -> None:
    corrections = Corrections(tmp_path, tagger.vocabulary)
    own = dataclasses.replace(tagger.calibration, thresholds=(0.1, 0.2, 0.3))
    for calibration, slider, box in ((None, 0, 0), (own, 1, 1), (tagger.calibration, 1, 0)):
        monkeypatch.setattr(tagger, "calibration", calibration)
        with PageServer(Desk(tagger, corrections), host="127.0.0.1", port=0) as server:
            page = server.files["/"][1].decode()
        assert (page.count('id="threshold"'), page.count('id="own"')) == (slider, box)
        assert ("decides nothing" in page) == (calibration is None)


def test_labels_are_the_taggers_probabilities(server, tmp_path) -> None:
    path = photo(tmp_path / "a.png")
    status, seen = ask(server, "/labels", path.read_bytes(), name="a.png")
    assert status == 200
    wanted = server.desk.tagger.predict_proba(path)[0]
    by_name = dict(zip(server.desk.tagger.classes_, wanted, strict=True))
    assert [value for _, value in seen["labels"]] == sorted(
        (round(float(p), 4) for p in wanted), reverse=True
    )
    assert all(value == round(float(by_name[name]), 4) for name, value in seen["labels"])


def test_heat_and_words(server, tmp_path) -> None:
    content = photo(tmp_path / "a.png").read_bytes()
    status, seen = ask(server, "/heat", content, name="a", **{"class": ["dog", "car"]})
    assert (
        status == 200
        and seen["image"].startswith("data:image/webp")
        and float(seen["low"]) < float(seen["high"])
    )
    status, read = ask(server, "/words", b"a dog <b>", **{"class": "dog"})
    assert status == 200
    assert [word["text"] for word in read["classes"][0]["words"]] == ["a", "dog", "<", "b", ">"]
    assert read["classes"][0]["name"] == "dog" and float(read["classes"][0]["whole"]) <= 1


def test_corrections_are_what_calibrate_takes(server, tagger, tmp_path) -> None:
    tagger.save(tmp_path / "tagger")
    folder = tmp_path / "corrections"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for seed in range(4):
        content = photo(tmp_path / "a.png", seed=seed).read_bytes()
        fields = {"present": ["dog", "car"], "all": 1} if seed % 2 else {"absent": "dog"}
        status, kept = ask(server, "/corrections", content, name="../Über a.PNG", **fields)
        assert (status, kept) == (200, {"corrected": seed + 1})
    _, labels = read_label_file(folder / "labels.jsonl", tagger.vocabulary)
    assert labels.tolist() == [[-1, 0, 0], [1, 1, -1]] * 2
    # the last image again, corrected: its line is replaced, the others stay as they were
    before = (folder / "labels.jsonl").read_text().splitlines()
    ask(server, "/corrections", content, name="../Über a.PNG", present="traffic light")
    after = (folder / "labels.jsonl").read_text().splitlines()
    assert after[:3] == before[:3] and len(after) == 4 and "traffic light" in after[3]
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        *("images", "labels.jsonl", "mine.txt")
    ]
    code, out, err = run(
        *("calibrate", tmp_path / "tagger", "--labelled", folder / "labels.jsonl", "--dry-run")
    )
    assert code == 0 and "on labelled images: 4 images" in out, out + err


@pytest.mark.parametrize(
    ("name", "explains"),
    [
        ("open_clip:vit_gelu", True),
        ("transformers:clip_quick_gelu", True),
        ("transformers:siglip", False),
    ],
)
def test_vision_transformers(transformer, tmp_path, name, explains) -> None:
    tagger = transformer(name)
    tagger.save(tmp_path / "tagger")
    with serving(tagger, tmp_path / "corrections") as server:
        can = ask(server, "/tagger")[1]
        assert (can["heat"], can["words"]) == (True, explains)
        assert ("caption-form" in ask(server, "/")[1]) == explains
        for seed in range(4):
            path = photo(tmp_path / "a.png", seed=seed)
            status, seen = ask(server, "/labels", path.read_bytes(), name="a.png")
            wanted = sorted(tagger.predict_proba(path)[0].tolist(), reverse=True)
            assert [v for _, v in seen["labels"]] == [round(value, 4) for value in wanted]
            fields = {"present": CLASSES[: seed % 2 + 1], "all": 1}
            assert ask(server, "/corrections", path.read_bytes(), name="a.png", **fields)[0] == 200
        status, drawn = ask(server, "/heat", path.read_bytes(), name="a.png", **{"class": "dog"})
        assert status == 200 and drawn["image"], drawn
        status, read = ask(server, "/words", b"a dog by a car", **{"class": "dog"})
        assert status == (200 if explains else 400), read
        texts = [word["text"] for word in read["classes"][0]["words"]] if explains else []
        assert "".join(texts) == ("adogbyacar" if explains else "")
    labels = tmp_path / "corrections/labels.jsonl"
    code, out, err = run("calibrate", tmp_path / "tagger", "--labelled", labels, "--per-class")
    assert code == 0 and "on labelled images: 4 images with 1.5 classes each" in out, out + err


def test_a_label_file_of_other_classes_is_not_touched(tagger, tmp_path) -> None:
    text = '{"image": "a.jpg", "labels": ["zebra"]}\n'
    (tmp_path / "labels.jsonl").write_text(text)
    with pytest.raises(InputError, match="line 1: unknown class 'zebra'"):
        Corrections(tmp_path, tagger.vocabulary)
    assert (tmp_path / "labels.jsonl").read_text() == text


@pytest.mark.parametrize("line", ["{broken", "[1]", '{"image": "a.jpg", "labels": ["zebra"]}'])
def test_a_label_file_that_was_spoilt_meanwhile_stays_as_it_is(server, tmp_path, line) -> None:
    content = photo(tmp_path / "a.png").read_bytes()
    ask(server, "/corrections", content, name="a.png", present="dog")
    path = tmp_path / "corrections/labels.jsonl"
    spoilt = path.read_text() + line + "\n"
    path.write_text(spoilt)
    status, answer = ask(server, "/corrections", content, name="a.png", present="car")
    assert status == 400 and "labels.jsonl, line 2: " in answer["error"]
    assert path.read_text() == spoilt
    path.write_text("\n")  # emptied: from the beginning
    assert len(Corrections(path.parent, server.desk.tagger.vocabulary)) == 0
    assert ask(server, "/corrections", content, name="a.png", present="car")[0] == 200


def test_a_full_disk_is_said_and_leaves_the_labels_as_they_were(
    server, tmp_path, monkeypatch
) -> None:
    content = photo(tmp_path / "a.png").read_bytes()
    ask(server, "/corrections", content, name="a.png", present="dog")
    labels = (tmp_path / "corrections/labels.jsonl").read_bytes()
    monkeypatch.setattr("os.fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
    status, answer = ask(server, "/corrections", content, name="a.png", present="car")
    assert status == 400 and "No space left; free some room" in answer["error"]
    assert (tmp_path / "corrections/labels.jsonl").read_bytes() == labels


GIF_BOMB = (
    b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;"
)


@pytest.mark.parametrize(
    ("question", "body", "fields", "said"),
    [
        ("/labels", b"<html></html>", {"name": "a.png"}, "a.png: cannot be read as an image"),
        ("/labels", b"", {"name": "a.png"}, "a.png: cannot be read as an image"),
        ("/labels", GIF_BOMB, {"name": "b.gif"}, "b.gif: more than 400 million pixels"),
        ("/corrections", b"<html>", {"name": "a.png", "present": "dog"}, "cannot be read"),
        ("/corrections", b"", {"present": "dgo"}, "did you mean 'dog'?"),
        ("/corrections", b"", {"present": "dog", "absent": "dog"}, "both in the image and not"),
        ("/corrections", b"", {"name": "a.png"}, "nothing is marked"),
        ("/words", b" \n", {}, "the caption is empty"),
        ("/words", b"a" * 20_000, {}, "20,000 bytes"),
    ],
)
def test_wrong_input_is_one_line(server, tmp_path, question, body, fields, said) -> None:
    status, answer = ask(server, question, body, **fields)
    assert status == 400
    assert said in answer["error"] and "\n" not in answer["error"] and "0x" not in answer["error"]
    assert not (tmp_path / "corrections").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/../setup.py",
        "/%2e%2e/setup.py",
        "/app.py",
        "//etc/passwd",
        "/etc/passwd",
        "/app.js/..",
        "/labels",
    ],
)
def test_no_other_file_is_served(server, path) -> None:
    assert ask(server, path)[0] == 404


def test_a_question_of_too_many_fields_is_one_line(server, capfd) -> None:
    status, answer = ask(server, "/words?" + "a&" * 20_000, b"a dog")
    assert status == 400 and answer == {"error": "more than 20,000 fields in one question"}
    assert capfd.readouterr().err == ""


def test_many_at_once_are_all_answered(server, tmp_path) -> None:
    host, port = server.server_address[:2]
    server.shutdown()  # nobody opens the door for a while
    waiting = [socket.create_connection((host, port), timeout=1) for _ in range(200)]
    for each in waiting:
        each.close()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    assert ask(server, "/")[0] == 200


def test_who_may_ask(server) -> None:
    own = f"127.0.0.1:{server.server_address[1]}"
    for headers, status in (
        ({"Host": "evil.example"}, 403),  # DNS rebinding
        ({"Host": ""}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": "localhost"}, 400),
        ({"Host": own, "Origin": "http://evil.example"}, 403),
        ({"Host": own, "Origin": "null"}, 403),
        ({"Host": own, "Origin": f"http://{own}"}, 400),
    ):
        assert ask(server, "/words", b"", headers)[0] == status, headers
    assert ask(server, "/", headers={"Host": "evil.example"})[0] == 403


def test_what_is_too_large_is_refused_unread(server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    connection.putrequest("POST", "/labels")
    connection.putheader("Content-Length", str(MOST_BYTES * 10))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413 and b"at most 50 MB" in answer.read()
    connection.close()
    connection.putrequest("POST", "/labels")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def test_wrong_arguments(server, tagger, tmp_path) -> None:
    tagger.save(tmp_path / "tagger")
    port = server.server_address[1]
    (tmp_path / "file").write_text("")
    labels = ("--labels", tmp_path / "c")
    for arguments, message in (
        ((tmp_path / "gone", *labels), "gone"),
        ((tmp_path / "tagger", "--port", port, *labels), f"port {port} is taken"),
        ((tmp_path / "tagger", "--host", "nowhere.invalid", *labels), "--host nowhere.invalid: "),
        ((tmp_path / "tagger", "--host", "", *labels), "--host is empty: give an address"),
        ((tmp_path / "tagger", "--labels", tmp_path / "file"), "file"),
    ):
        code, _, err = run("app", *arguments)
        assert code == 2 and message in err, err


def test_what_to_do_with_corrections_is_said_at_the_end(tagger, tmp_path, monkeypatch) -> None:
    tagger.save(tmp_path / "tagger")
    folder = tmp_path / "c"

    def used(server: PageServer) -> None:
        content = photo(tmp_path / "a.png").read_bytes()
        server.desk.answer("/corrections", {"name": ["a.png"], "present": ["dog"]}, content)
        raise Stopped(signal.SIGINT)

    monkeypatch.setattr(PageServer, "serve_forever", used)
    code, out, err = run("app", tmp_path / "tagger", "--labels", folder, "--port", 0)
    assert code == 0, err
    said = f"Next: tai-dpt calibrate {tmp_path}/tagger --labelled {folder}/labels.jsonl --per-class"
    assert out.splitlines()[-1] == said


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("name", ["", "open_clip:vit_gelu"])
def test_in_a_browser(tagger, transformer, tmp_path, name) -> None:
    tagger = transformer(name) if name else tagger
    folder = tmp_path / "corrections"
    photos = [photo(tmp_path / f"<i>{n}.png", seed=n) for n in (1, 2)]
    (tmp_path / "no.png").write_text("<html>")
    with serving(tagger, folder) as server, new_page(tmp_path / "profile") as page:
        page.open(server.url, width=1280)
        page.choose("#files", photos[0])
        page.wait("document.querySelectorAll('.card .marking:not([hidden])').length === 1")
        page.choose("#files", photos[1], tmp_path / "no.png")
        page.wait("document.querySelectorAll('.card .marking:not([hidden])').length === 2")
        page.wait("document.querySelector('.broken .said')?.textContent.includes('cannot be read')")
        last = "document.querySelector('.card:not(.broken)')"
        names = page.run("[...document.querySelectorAll('.card h3')].map(e => e.textContent)")
        assert names == [photos[1].name, "no.png", photos[0].name]  # chosen last, in their order
        # at the lowest threshold all classes are labels, at the highest none
        count = f"{last}.querySelector('.labels').querySelectorAll('.where').length"
        for place, classes in ((0.01, 3), (1, 0), (0.01, 3)):
            page.run(f"threshold.value = {place}; threshold.dispatchEvent(new Event('input'))")
            assert page.run(count) == classes
        # a heat map, by keyboard
        page.run(f"{last}.querySelector('.where').focus()")
        page.press("Enter", 13, "\r")
        page.wait(f"{last}.querySelector('figcaption').textContent.includes('similarity')")
        assert page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
        # nothing is saved before every label is marked
        page.run(f"{last}.querySelector('.save').click()")
        assert "right or wrong?" in page.run(f"{last}.querySelector('.said').textContent")
        page.run(f"{last}.querySelectorAll('.marks')[0].children[1].click()")
        page.run(f"{last}.querySelector('.agree').click()")
        assert page.run(f"{last}.querySelector('.said').textContent") == ""
        page.run(f"{last}.querySelector('.save').click()")
        page.wait("document.getElementById('status').textContent.startsWith('1 corrected photo')")
        _, labels = read_label_file(folder / "labels.jsonl", tagger.vocabulary)
        assert sorted(labels[0]) == [-1, 1, 1]
        photos[1].write_bytes(photos[1].read_bytes() + b" ")  # it is no longer what was chosen
        page.run(f"{last}.querySelector('.save').click()")
        page.wait(f"{last}.querySelector('.said').textContent.includes('choose the photo again')")
        page.run("caption.value = 'a dog by a car'")
        page.run("document.querySelector('#caption-form button').click()")
        page.wait("document.querySelectorAll('#words .sentence').length === 3")
        assert page.run("document.querySelectorAll('i').length") == 0  # names are text
        named = "[...document.querySelectorAll('button, input, textarea')].every(e => "
        assert page.run(f"{named} e.textContent.trim() || e.labels?.length)")
        page.open(server.url, width=390)
        assert page.run("document.documentElement.scrollWidth") <= 390
        refused = [entry for entry in page.complaints if "/labels?name=no.png" in entry]
        assert page.complaints == refused


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_what_a_backbone_cannot_say_is_not_offered_in_a_browser(transformer, tmp_path) -> None:
    tagger = transformer("transformers:siglip")
    tagger.backbone.image._pool.clear()  # as of a tower with one feature for all of an image
    with serving(tagger, tmp_path / "c") as server, new_page(tmp_path / "profile") as page:
        page.open(server.url, width=390)
        page.choose("#files", photo(tmp_path / "a.png"))
        page.wait("document.querySelectorAll('.card .marking:not([hidden])').length === 1")
        assert page.run("document.querySelectorAll('.where').length") == 3
        assert page.run("document.querySelectorAll('button.where, #caption').length") == 0
        assert "Click a" not in page.run("document.body.textContent")
        assert page.complaints == []
