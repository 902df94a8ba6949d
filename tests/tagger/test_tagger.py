"""The tagger from Python: predicting, explaining, saving and loading."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from PIL import Image

from tai_dpt import Tagger
from tai_dpt.errors import InputError
from tai_dpt.io.images import as_image
from tai_dpt.labels.vocabulary import Vocabulary

from taggers import CLASSES, OPTIONS, new_tagger, photo, weight_file


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    return new_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return [photo(folder / f"{i}.png", seed=i) for i in range(3)]


@pytest.fixture
def folder(tagger, tmp_path):
    tagger.save(tmp_path / "mine")
    return tmp_path / "mine"


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, tai_dpt; assert 'torch' not in sys.modules; assert 'Tagger' in dir(tai_dpt)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Taggr'"):
        import tai_dpt

        _ = tai_dpt.Taggr


def test_every_form_of_a_image_scores_alike(tagger, images) -> None:
    image = Image.open(images[0])
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = tagger.scores(images[0])
    assert expected.shape == (1, len(CLASSES))
    for form in (
        str(images[0]),
        image,
        array,
        array / 255.0,
        tensor,
        tensor / 255,
        tensor[None],
        array[None],
        [image],
        (p for p in [images[0]]),
    ):
        np.testing.assert_allclose(tagger.scores(form), expected, atol=1e-5)


def test_scores_are_those_of_the_trainer(tagger, images) -> None:
    pixels = torch.stack([tagger.preprocessing(as_image(p)) for p in images])
    features = tagger.backbone.encode_images(pixels, position_embedding=False)
    scores = tagger.score_features(features, sharpness=40.0)
    for kind, expected in (
        ("merged", scores.merged),
        ("global", scores.global_),
        ("local", scores.local),
    ):
        np.testing.assert_allclose(tagger.scores(images, kind=kind), expected, atol=1e-5)
    small = tagger.scores(images, batch_size=2)
    np.testing.assert_allclose(small, scores.merged, atol=1e-4)


def test_labels_and_indicator_agree(tagger, images) -> None:
    labels = tagger.predict(images, threshold=0.5)
    indicator = tagger.predict(images, threshold=0.5, output="indicator")
    probabilities = tagger.predict_proba(images)
    assert indicator.shape == probabilities.shape == (3, 3)
    for names, row, p in zip(labels, indicator, probabilities, strict=True):
        assert set(names) == set(tagger.classes_[row > 0])
        found = [p[CLASSES.index(n)] for n in names]
        assert found == sorted(found, reverse=True)
        assert all(value >= 0.5 for value in found)
    assert all(len(names) == 2 for names in tagger.predict(images, top=2))
    assert all(len(names) <= 1 for names in tagger.predict(images, top=1, threshold=0.99))
    assert tagger.predict(images, threshold=0.0, output="indicator").all()
    assert tagger.predict([]) == []


def test_wrong_arguments_say_so(tagger, images) -> None:
    with pytest.raises(InputError, match="unknown output 'label'; did you mean 'labels'"):
        tagger.predict(images, output="label")
    with pytest.raises(InputError, match="it is a probability"):
        tagger.predict(images, threshold=3)
    with pytest.raises(InputError, match="at least 1"):
        tagger.predict(images, top=0)
    with pytest.raises(InputError, match="unknown class 'trafic light'; did you mean 'traffic li"):
        tagger.heatmap(images[0], "trafic light")
    with pytest.raises(InputError, match="not normalised"):
        tagger.scores(np.full((4, 4, 3), -2.0))
    with pytest.raises(InputError, match="not a int"):
        tagger.scores(7)
    with pytest.raises(InputError, match=r"gone\.jpg: no such file"):
        tagger.scores(["gone.jpg"])


def test_processes_read_what_threads_read(tagger, images, tmp_path) -> None:
    (tmp_path / "broken.png").write_text("text")
    paths = [str(images[0]), str(tmp_path / "broken.png"), *map(str, images[1:])]
    told = []
    for processes in (False, True):
        batches = list(tagger.stream(paths, batch_size=2, workers=2, processes=processes))
        scores = torch.cat([batch.scores.merged for batch in batches])
        told.append((scores, [batch.indices for batch in batches], [b.errors for b in batches]))
    assert told[0][0].equal(told[1][0]) and told[0][1:] == told[1][1:]
    assert told[0][1] == [[0], [2, 3]] and "broken.png" in told[0][2][0][1]


def test_awkward_images(tagger, tmp_path) -> None:
    frames = [Image.new("P", (40, 30), i) for i in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("CMYK", (40, 30), (10, 90, 30, 0)).save(tmp_path / "print.jpg")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    Image.new("RGB", (20_000, 20), "green").save(tmp_path / "panorama.png")
    Image.new("RGBA", (30, 30), (255, 0, 0, 0)).save(tmp_path / "glass.png")
    Image.new("I;16", (30, 30), 40_000).save(tmp_path / "deep.png")
    (tmp_path / "text.jpg").write_text("not an image")
    paths = sorted(tmp_path.iterdir())
    (batch,) = tagger.stream(paths)
    assert [paths[i].name for i in batch.errors] == ["text.jpg"]
    assert "text.jpg: cannot be read as an image" in next(iter(batch.errors.values()))
    assert np.isfinite(batch.scores.merged.numpy()).all()
    assert as_image(tmp_path / "glass.png").getpixel((3, 3)) == (255, 255, 255)
    assert as_image(tmp_path / "deep.png").getpixel((3, 3)) == (156, 156, 156)
    for name in ("dot.png", "panorama.png"):
        assert np.isfinite(tagger.heatmap(tmp_path / name, "dog")).all()


def test_a_turned_photo_is_seen_upright(tagger, tmp_path) -> None:
    upright = Image.open(photo(tmp_path / "a.png"))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to see it
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=exif)
    assert as_image(tmp_path / "b.png").tobytes() == upright.convert("RGB").tobytes()


def test_heat_map_covers_the_whole_image(tagger, images) -> None:
    cell = tagger.backbone.image_size // tagger.backbone.image.grid
    coarse = tagger.heatmap(images[0], "dog")
    assert coarse.shape == (
        tagger.backbone.image_size // cell,
        round(tagger.backbone.image_size * 90 / 70 / cell),
    )
    assert np.abs(coarse).max() <= 1 + 1e-5
    both = tagger.heatmap(images[0], ["car", "dog"])
    np.testing.assert_allclose(both[1], coarse, atol=1e-6)
    fine = tagger.heatmap(images[0], "dog", shifts=2)
    assert fine.shape == (2 * coarse.shape[0], 2 * coarse.shape[1])
    assert tagger.heatmap(images[0], full_size=True).shape == (3, 70, 90)


def test_words_of_a_caption(tagger) -> None:
    words, values, whole = tagger.words("A dog, and two traffic-lights!", ["dog", "car"])
    assert words == ["a", "dog", ",", "and", "two", "traffic", "-", "lights", "!"]
    assert values.shape == (len(words), 2)
    assert whole.shape == (2,)
    with pytest.raises(InputError, match="caption is empty"):
        tagger.words("  ")


def test_saved_and_loaded_it_is_the_same(tagger, folder, images) -> None:
    loaded = Tagger.load(folder)
    assert loaded.classes_.tolist() == CLASSES
    assert loaded.backbone.name == "tiny"
    np.testing.assert_allclose(loaded.scores(images), tagger.scores(images), atol=1e-6)
    assert loaded.predict(images) == tagger.predict(images)
    assert loaded.provenance["captions"]["naming_no_class"] == 40
    assert sum(loaded.provenance["captions"]["per_class"]) > 200
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "tagger.json",
        "README.md",
        "prompts.safetensors",
        "class_embeddings.safetensors",
        "backbone.safetensors",
    }
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]  # no temporary folder left


def test_prompts_give_the_class_embeddings(tagger) -> None:
    from tai_dpt.prompts.learner import PromptEncoder, class_tokens

    backbone = tagger.backbone
    encoder = PromptEncoder(
        text=backbone.text,
        classes=class_tokens(CLASSES, backbone.tokenize),
        start_id=backbone.tokenize([""])[0][0],
        n_ctx=2,
    )
    for name, context in tagger.contexts.items():
        made = torch.nn.functional.normalize(encoder(context[None])[0], dim=-1)
        torch.testing.assert_close(made, tagger.embeddings[name], atol=1e-5, rtol=0)


def test_a_backbone_that_is_left_out_must_be_found(tagger, tmp_path) -> None:
    tagger.save(tmp_path / "thin", include_backbone=False)
    assert Tagger.load(tmp_path / "thin").classes_.tolist() == CLASSES  # still where it was
    about = json.loads((tmp_path / "thin" / "tagger.json").read_text())
    for path, gone in (("/gone.safetensors", ", and /gone.safetensors is not there"), (None, "")):
        about["backbone"]["path"] = path
        (tmp_path / "thin" / "tagger.json").write_text(json.dumps(about))
        with pytest.raises(InputError, match=f"its backbone{gone}; say where the weights of tiny"):
            Tagger.load(tmp_path / "thin")
    again = Tagger.load(tmp_path / "thin", backbone=weight_file(tmp_path))
    assert again.backbone.weights_hash == tagger.backbone.weights_hash


def test_another_backbone_is_refused(folder, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(weight_file(tmp_path))
    state["logit_scale"] = state["logit_scale"] + 1
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="prompts work with their own backbone only"):
        Tagger.load(folder, backbone=tmp_path / "other.safetensors")


def test_broken_folders_say_what_is_wrong(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="not a tagger; 'tai-dpt fit' makes one"):
        Tagger.load(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        Tagger.load(tmp_path / "nowhere")
    about = folder / "tagger.json"
    text = about.read_text()

    content = json.loads(text)
    about.write_text(json.dumps({**content, "format_version": 9, "written_by": "tai_dpt 7.0"}))
    with pytest.raises(InputError, match=r"written by tai_dpt 7.0 \(format 9\).*update it"):
        Tagger.load(folder)
    about.write_text(json.dumps({k: v for k, v in content.items() if k != "scoring"}))
    with pytest.raises(InputError, match="it lacks 'scoring'"):
        Tagger.load(folder)
    about.write_text(json.dumps({**content, "calibration": {"slope": 1.0}}))
    with pytest.raises(InputError, match=r"calibration: it lacks '.*; copy the folder again"):
        Tagger.load(folder)
    about.write_text(text[:100])
    with pytest.raises(InputError, match=r"tagger\.json: not valid JSON"):
        Tagger.load(folder)
    about.write_text(text)

    embeddings = folder / "class_embeddings.safetensors"
    embeddings.write_bytes(embeddings.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match=r"class_embeddings\.safetensors is damaged"):
        Tagger.load(folder)
    embeddings.unlink()
    with pytest.raises(InputError, match=r"class_embeddings\.safetensors is missing"):
        Tagger.load(folder)


def test_nothing_is_overwritten_unasked(tagger, folder, tmp_path) -> None:
    with pytest.raises(InputError, match="holds a tagger already"):
        tagger.save(folder)
    tagger.save(folder, overwrite=True)
    assert Tagger.load(folder).classes_.tolist() == CLASSES
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(InputError, match="is not a tagger; choose another name"):
        tagger.save(tmp_path / "letters", overwrite=True)
    assert (tmp_path / "letters" / "dear.txt").is_file()


def test_overwriting_touches_only_what_a_tagger_consists_of(tagger, folder, tmp_path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "more").mkdir()
    (tmp_path / "link").symlink_to(folder)
    tagger.save(tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "more").is_dir()
    assert Tagger.load(folder).classes_.tolist() == CLASSES
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_fitting_is_repeatable_and_reports(tagger, tmp_path) -> None:
    from tai_dpt.tagger.fitting import Progress

    from taggers import CAPTIONS

    lines: list[str] = []
    steps: list[tuple[int, int, float]] = []
    again = Tagger.from_captions(
        classes=Vocabulary.from_names(CLASSES),
        captions=CAPTIONS,
        backbone=weight_file(tmp_path),
        options=OPTIONS,
        progress=Progress(line=lines.append, step=lambda *step: steps.append(step)),
    )
    for name in ("global", "local"):
        assert torch.equal(again.contexts[name], tagger.contexts[name])
    assert any("learning from" in line for line in lines)
    assert steps[-1][0] == steps[-1][1] == len(steps)


def test_values_given_to_fit_are_named_as_they_were_given(tmp_path) -> None:
    backbone = weight_file(tmp_path)
    for wrong, message in (
        ({"classes": ["dog", "Dog"]}, "'dog' and 'Dog'"),
        ({"classes": CLASSES, "captions": ["a dog", "a \ud800"]}, "caption 2 holds half of a"),
        ({"classes": tmp_path / "mine.txt"}, "no such class list: .*mine.txt"),
    ):
        with pytest.raises(InputError, match=message) as error:
            Tagger.from_captions(backbone=backbone, options=OPTIONS, **wrong)
        assert "classes.yaml" not in str(error.value) and "captions.txt" not in str(error.value)


def test_only_what_is_reported_reaches_the_console(tmp_path, capsys) -> None:
    from tai_dpt.tagger.fitting import Progress

    Tagger.from_captions(
        classes=CLASSES,
        captions=["a dog and a car", "a traffic light"] * 30,
        backbone=weight_file(tmp_path),
        options=OPTIONS,
        log_folder=tmp_path / "log",
        progress=Progress(line=print),
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("captions: ")] == [
        next(line for line in lines if line.startswith("learning from "))
    ]
    log = (tmp_path / "log/log.txt").read_text()
    assert "epoch [2/2]" in log and "Checkpoint saved to" in log and "learning from" in log
    assert {path.suffix for path in tmp_path.rglob("*")}.isdisjoint({".yaml", ".csv"})


def test_fitting_leaves_stdout_alone_and_writes_no_file(tmp_path, monkeypatch, capfd) -> None:
    """Another thread of the caller may print while prompts are learned."""
    from tai_dpt.tagger.fitting import Progress

    backbone = weight_file(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setattr(tempfile, "tempdir", str(empty))
    before, seen = sys.stdout, set()
    found: list[str] = []

    def step(*_: float) -> None:
        seen.add(id(sys.stdout))
        found.extend(path.name for path in empty.rglob("*"))

    Tagger.from_captions(
        classes=CLASSES,
        captions=["a dog and a car", "a traffic light"] * 30,
        backbone=backbone,
        options=OPTIONS,
        progress=Progress(step=step),
    )
    assert seen == {id(before)}
    assert found == [] and list(empty.iterdir()) == []
    assert capfd.readouterr().out == ""


def test_fitting_without_captions_writes_some(tmp_path) -> None:
    tagger = Tagger.from_captions(
        classes={"boat": ["ship"], "Füße": []}, backbone=weight_file(tmp_path), options=OPTIONS
    )
    assert tagger.provenance["captions"]["written_from_templates"]
    assert min(tagger.provenance["captions"]["per_class"]) > 100
    assert tagger.calibration is not None


def test_bad_fits_say_why(tmp_path) -> None:
    backbone = weight_file(tmp_path)

    def fit(**arguments):
        Tagger.from_captions(backbone=backbone, options=OPTIONS, **arguments)

    with pytest.raises(InputError, match="at least one class name"):
        fit(classes=[])
    with pytest.raises(InputError, match="no such caption file"):
        fit(classes=CLASSES, captions="gone.txt")
    with pytest.raises(InputError, match="no captions given"):
        fit(classes=CLASSES, captions=[" "])
    with pytest.raises(InputError, match="names any of the 3 classes"):
        fit(classes=CLASSES, captions=["the moon"])
    with pytest.raises(InputError, match=r"unknown config key 'OPTIM\.LRR'"):
        Tagger.from_captions(classes=CLASSES, backbone=backbone, options=["OPTIM.LRR", 1])
    with pytest.raises(InputError, match="unknown backbone 'RN5'"):
        Tagger.from_captions(classes=CLASSES, backbone="RN5", options=OPTIONS)
    with pytest.warns(UserWarning, match="have no caption: zebra"):
        Tagger.from_captions(
            classes=["dog", "zebra"],
            captions=["a dog"] * 5,
            backbone=backbone,
            options=OPTIONS,
        )


def test_a_tagger_without_calibration_ranks_only(tagger, images) -> None:
    from tai_dpt.tagger.tagger import PromptTagger

    bare = PromptTagger(
        backbone=tagger.backbone,
        class_names=CLASSES,
        embeddings=tagger.embeddings,
        contexts=tagger.contexts,
    )
    assert all(len(names) == 1 for names in bare.predict(images, top=1))
    with pytest.raises(InputError, match="never calibrated"):
        bare.predict(images)


def test_repr_is_short(tagger) -> None:
    assert repr(tagger) == "Tagger(3 classes: dog, car, traffic light; tiny)"
