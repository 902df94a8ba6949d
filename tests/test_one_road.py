"""One road for an image: whoever asks, the same image gives the same pixels."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tai_dpt.backbones import Preprocessing
from tai_dpt.cli.calibrate import _scores as scored_for_calibration
from tai_dpt.datasets.base import ImageSplit, MultiLabelDataset
from tai_dpt.datasets.corpora import LabelledCorpus
from tai_dpt.datasets.images import image_batches, preprocessing_from_config
from tai_dpt.errors import InputError
from tai_dpt.features import Features
from tai_dpt.io.images import read_image
from tai_dpt.labels.vocabulary import Vocabulary
from tai_dpt.reports.reopened_run import _tagger_of as tagger_of_run
from tai_dpt.scoring.methods import Learned, Prompts
from tai_dpt.scoring.results import ScoreTable
from tai_dpt.scoring.scores import Scoring
from tai_dpt.tagger.exporting import service_facts
from tai_dpt.tagger.tagger import PromptTagger
from tai_dpt.toolbox import TRAINER_REGISTRY, get_cfg_default
from tai_dpt.trainers import extend_cfg
from tai_dpt.trainers.config_files import merge_pairs
from tai_dpt.trainers.run import build_parser, run, setup_cfg
from tai_dpt.trainers.tai_dpt import TaIDPT

import worlds

OWN = Preprocessing((64, 32), view="whole", interpolation="bilinear", mean=(0.1, 0.2, 0.3))
MODES = ("RGB", "L", "RGBA", "LA", "P", "CMYK", "1", "I;16")

wishes = st.fixed_dictionaries(
    {},
    optional={
        "INPUT.SIZE": st.sampled_from(["(32, 32)", "(32, 64)", "(96, 40)"]),
        "INPUT.INTERPOLATION": st.sampled_from(["bicubic", "bilinear", "nearest"]),
        "INPUT.PIXEL_MEAN": st.just("[0.485, 0.456, 0.406]"),
        "INPUT.PIXEL_STD": st.just("[0.229, 0.224, 0.225]"),
        "INPUT.TRANSFORMS_TEST": st.sampled_from(
            ["('resize', 'center_crop', 'normalize')", "('resize', 'normalize')", "('resize',)"]
        ),
    },
)


class WatchedBackbone:
    """Takes any image and remembers its pixels."""

    name, weights_hash, embed_dim, device = "watched", "0" * 64, 4, torch.device("cpu")
    preprocessing = OWN
    image_size, cell, logit_scale = 64, 32, 100.0
    image = SimpleNamespace(any_size=True, has_places=True)

    def __init__(self) -> None:
        self.pixels: list[torch.Tensor] = []

    def check_size(self, height: int, width: int) -> None:
        assert height > 0 and width > 0

    def need_places(self, what: str) -> None:
        """Its cells are places."""

    def encode_images(self, images, *, position_embedding):
        self.pixels += list(images)
        cells = len(images), (images.shape[2] // 32) * (images.shape[3] // 32)
        return Features(
            torch.ones(len(images), self.embed_dim),
            torch.ones(*cells, self.embed_dim),
            torch.ones(cells, dtype=torch.bool),
        )


def config(pairs: dict[str, str]):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    merge_pairs(cfg, [part for pair in pairs.items() for part in pair])
    return cfg


def encoded(width: int, height: int, mode: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) << 8)
    else:
        image = Image.fromarray(pixels).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "TIFF" if mode == "CMYK" else "PNG")
    return stream.getvalue()


@settings(deadline=None, max_examples=60)
@given(
    width=st.one_of(st.integers(1, 80), st.sampled_from([700, 1500])),
    height=st.one_of(st.integers(1, 80), st.sampled_from([701])),
    mode=st.sampled_from(MODES),
    pairs=wishes,
)
def test_all_roads_give_the_same_pixels(tmp_path_factory, width, height, mode, pairs):
    path = tmp_path_factory.mktemp("road") / "image"
    path.write_bytes(encoded(width, height, mode))
    check_roads(path, preprocessing_from_config(config(pairs), OWN))


@pytest.mark.parametrize("interpolation", ["bicubic", "nearest"])
def test_all_roads_decode_a_large_jpeg_alike(tmp_path, interpolation):
    coarse = np.random.default_rng(0).integers(0, 256, (130, 200, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((1600, 1040 * 2)).save(tmp_path / "image.jpg")
    preprocessing = replace(OWN, interpolation=interpolation)
    check_roads(tmp_path / "image.jpg", preprocessing)
    seen, whole = (preprocessing.read(tmp_path / "image.jpg"), read_image(tmp_path / "image.jpg"))
    drafted = interpolation != "nearest"  # which would show other pixels
    assert (seen.size == whole.size) != drafted
    levels = [np.asarray(preprocessing.seen(image)).astype(int) for image in (seen, whole)]
    difference = levels[0] - levels[1]
    assert np.sqrt((difference**2).mean()) < 1 and difference.any() == drafted


def check_roads(path, preprocessing):
    """Every road from a file to pixels gives those that training and testing see."""
    # training and testing
    (batch,) = image_batches([str(path)], preprocessing, [[0]], workers=0)
    expected = batch[0]
    # tagging, calibrating, a run opened again
    backbone = WatchedBackbone()
    both = dict.fromkeys(("global", "local"), torch.ones(2, backbone.embed_dim))
    trainer = SimpleNamespace(
        backbone=backbone,
        dataset=SimpleNamespace(classnames=["a", "b"]),
        preprocessing=preprocessing,
        learned=lambda: Learned(Prompts(), both, Scoring()),
    )
    results = {"trainer": "ZSCLIP", "backbone": {"sha256": backbone.weights_hash}}
    reopened, why = tagger_of_run(trainer, results)
    assert not why
    tagger = PromptTagger(
        backbone=backbone,
        class_names=["a", "b"],
        embeddings=both,
        contexts={},
        preprocessing=preprocessing,
    )
    tagger.scores(path)
    tagger.scores(preprocessing.read(path))
    scored_for_calibration(tagger, [path])
    reopened.scores(str(path))
    if preprocessing.view == "whole" and not any(side % 32 for side in preprocessing.size):
        reopened.heatmap(path, "a")  # else it shows more than is tagged
        assert len(backbone.pixels) == 5
    # a service that was handed the exported description
    facts = json.loads(json.dumps(service_facts(tagger)))
    exported = Preprocessing.from_dict(facts["preprocessing"])
    backbone.pixels.append(exported(exported.read(path)))
    for pixels in backbone.pixels:
        assert torch.equal(pixels, expected)


def test_the_backbones_own_preprocessing_counts_where_nobody_sets_another():
    assert preprocessing_from_config(config({}), OWN) == OWN


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        # Dassl's own defaults, when somebody asks for them
        ("SIZE", "(224, 224)", "size", (224, 224)),
        ("INTERPOLATION", "bilinear", "interpolation", "bilinear"),
        ("PIXEL_MEAN", "[0.485, 0.456, 0.406]", "mean", (0.485, 0.456, 0.406)),
        ("PIXEL_STD", "[0.229, 0.224, 0.225]", "std", (0.229, 0.224, 0.225)),
        ("TRANSFORMS_TEST", "('resize', 'normalize')", "view", "whole"),
        ("TRANSFORMS_TEST", "('resize', 'center_crop', 'normalize')", "view", "center"),
        ("TRANSFORMS_TEST", "('center_crop',)", "mean", (0, 0, 0)),
    ],
)
def test_what_is_set_counts(key, value, field, expected):
    own = Preprocessing((64, 32), view="center" if expected == "whole" else "whole")
    made = preprocessing_from_config(config({f"INPUT.{key}": value}), own)
    assert getattr(made, field) == expected
    untouched = {"size", "interpolation"} - {field}
    assert all(getattr(made, name) == getattr(own, name) for name in untouched)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SIZE", "(0, 0)", "INPUT.SIZE: size is (0, 0)"),
        ("SIZE", "(1000000, 1000000)", "INPUT.SIZE: size is"),
        ("INTERPOLATION", "foo", "INPUT.INTERPOLATION: unknown interpolation 'foo'"),
        ("PIXEL_STD", "[0, 0, 0]", "INPUT.PIXEL_STD: std is [0, 0, 0]"),
        ("PIXEL_MEAN", "[0.5]", "INPUT.PIXEL_MEAN: mean is [0.5]"),
        ("TRANSFORMS_TEST", "('normalize',)", "needs resize or center_crop"),
    ],
)
def test_a_wrong_wish_names_its_key(key, value, message):
    with pytest.raises(InputError) as error:
        preprocessing_from_config(config({f"INPUT.{key}": value}), OWN)
    assert message in str(error.value)


def test_a_run_says_how_it_prepared_its_images(tmp_path):
    root = worlds.write_world(tmp_path / "world")
    content = json.loads((root / "tiny.yaml").read_text())
    del content["INPUT"]  # so that only the backbone knows
    (root / "tiny.yaml").write_text(json.dumps(content))
    argv = worlds.arguments(root, "ZSCLIP", tmp_path / "run")
    trainer = run(setup_cfg(build_parser().parse_args(argv)))
    assert trainer.preprocessing == trainer.backbone.preprocessing
    written = json.loads((tmp_path / "run/results.json").read_text())["preprocessing"]
    assert Preprocessing.from_dict(written) == trainer.preprocessing


def test_a_trainer_takes_its_data_as_objects(tmp_path):
    root = worlds.write_world(tmp_path / "world")
    argv = worlds.arguments(root, "TaIDPT", tmp_path / "run", "TRAINER.TAIDPT.N_CTX", 4)
    cfg = setup_cfg(build_parser().parse_args(argv))
    vocabulary = Vocabulary.from_names({"hound": ["dog"], "car": ["car"]})
    image = next((root / "tiny/test").iterdir())
    dataset = MultiLabelDataset(
        cfg,
        vocabulary=vocabulary,
        corpus=LabelledCorpus(["a dog", "a car"], np.eye(2, dtype=np.uint8)),
        test=ImageSplit(("one",), (str(image),), np.array([[1, -1]], np.int8)),
    )
    trainer = TaIDPT(cfg, dataset=dataset)
    trainer.train()
    table = ScoreTable.load(tmp_path / "run/scores.npz")
    assert table.class_names == ("hound", "car") and table.ids == ("one",)
    assert trainer.dataset.corpus.texts == ["a dog", "a car"]


@pytest.mark.parametrize(
    "trainer, items",
    [
        ("TaIDPT", {"captions", "images"}),
        ("Concepts", {"captions", "images"}),
        ("DualCoOp", {"images"}),
    ],
)
def test_what_is_encoded_is_reported_in_one_way(tmp_path, capsys, trainer, items):
    root = worlds.write_world(tmp_path / "world")
    cfg = setup_cfg(build_parser().parse_args(worlds.arguments(root, trainer, tmp_path / "run")))
    base = TRAINER_REGISTRY.get(trainer)
    lines: list[str] = []
    heard = type("Heard", (base,), {"report": lambda self, line: lines.append(line)})(cfg)
    heard.train()
    assert {line.split(":")[0] for line in lines} == items
    printed = capsys.readouterr().out.splitlines()
    assert not [
        line for line in printed if line.split(":")[0] in ("captions", "images") and "encod" in line
    ]


def test_without_an_output_folder_a_run_writes_nothing(tmp_path, monkeypatch):
    root = worlds.write_world(tmp_path / "world")
    argv = worlds.arguments(root, "DualCoOp", tmp_path / "run", "OUTPUT_DIR", "")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    trainer = run(setup_cfg(build_parser().parse_args(argv)))
    assert trainer.model_record() == {"epoch": 2, "checkpoint": None}
    assert list((tmp_path / "here").iterdir()) == [] and not (tmp_path / "run").exists()
    argv += ["TEST.FINAL_MODEL", "best_val"]
    with pytest.raises(InputError, match=r"best_val keeps a model .* OUTPUT_DIR is empty"):
        run(setup_cfg(build_parser().parse_args(argv)))


def test_a_size_the_model_cannot_take_is_refused_before_training(tmp_path):
    root = worlds.write_world(tmp_path / "world")
    argv = worlds.arguments(root, "TaIDPT", tmp_path / "run", "INPUT.SIZE", "(7, 7)")
    with pytest.raises(InputError, match="7×7 is too small"):
        run(setup_cfg(build_parser().parse_args(argv)))
    assert not (tmp_path / "run/prompt_learner").exists()
