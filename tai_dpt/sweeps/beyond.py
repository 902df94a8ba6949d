"""The methods after the paper beside the paper's own, on the same stored features."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from tai_dpt.errors import InputError
from tai_dpt.io.shipped import config_path
from tai_dpt.sweeps.runs import Recipe, Run

_RECTIFICATION = "standardise"
# the shipped configs whose backbone has no features of places, which PIAA's patches are
_WITHOUT_PLACES = ("siglip_b16",)
# benchmarks that PIAA's constants are published for
_PIAA_SETTINGS = ("voc2007", "coco2014", "nuswide")


def beyond(recipe: Recipe) -> list[Run]:
    """Every method, plain and rectified, and fusions of equal weight, on each backbone.

    What draws nothing at random is run once, for the first seed.
    """
    runs: dict[Run, None] = {}  # in order, each once
    for stem in recipe.backbones or (recipe.text_config,):
        runs |= dict.fromkeys(_on_backbone(recipe, stem))
    return list(runs)


def _on_backbone(recipe: Recipe, stem: str) -> list[Run]:
    first = recipe.seeds[0]
    learned = [recipe.run("TaIDPT", stem, "default", seed) for seed in recipe.seeds]
    taken = learned[0].config
    if recipe.backbones and taken not in (stem, f"{stem}_{recipe.recipe}"):
        raise InputError(
            f"--backbones {stem}: runs on {recipe.dataset} take the config {taken} alone; leave "
            "it out"
        )
    backbone = _backbone("TaIDPT", learned[0].config)

    def run(trainer: str, seed: int = first, name: str = "", *options: str) -> Run:
        """A trainer without a config for this backbone takes RN50's, and the backbone's name."""
        bases = f"{stem} rn50"
        config = recipe.run(trainer, bases, "default", seed).config
        other = () if _backbone(trainer, config) == backbone else ("MODEL.BACKBONE.NAME", backbone)
        setting = "_".join(filter(None, (stem if other else "", name))) or "default"
        return recipe.run(trainer, bases, setting, seed, (*other, *options))

    piaa = next((name for name in _PIAA_SETTINGS if recipe.dataset.startswith(name)), "coco2014")
    zero_shot = run("ZSCLIP", first, "templates80", "TRAINER.ZSCLIP.TEMPLATE", "imagenet")
    concepts = run("Concepts")
    others = [run("SPARC")]
    if stem not in _WITHOUT_PLACES:
        others.append(run("PIAA", first, piaa, "TRAINER.PIAA.SETTING", piaa))
    untrained = [run("ZSCLIP"), zero_shot, run("DualPrompt"), concepts]
    runs = [*untrained, *map(_rectified, untrained), *others]
    for tai_dpt in learned:
        comc = run("CoMC", tai_dpt.seed)
        captions = [tai_dpt, comc]
        runs += [*captions, beside := tai_dpt.with_concepts()]
        runs += map(_rectified, (*captions, beside))
        for name, parts in {  # a fusion's record has the second one's seed
            "captions": (concepts, tai_dpt, comc),
            "all": (zero_shot, tai_dpt, concepts, comc, *others),
        }.items():
            runs += [_fusion(name, parts, tai_dpt, how) for how in ("none", _RECTIFICATION)]
    return runs


def _rectified(run: Run) -> Run:
    words = ("--rectify", _RECTIFICATION)
    return run.rescored(f"{_RECTIFICATION}d", "TEST.RECTIFY", _RECTIFICATION, *words)


def _fusion(name: str, parts: Sequence[Run], beside: Run, how: str) -> Run:
    """Parts of equal weight, by the merged scores of each, in a place like that of ``beside``."""
    setting = name if how == "none" else f"{name}_{how}d"
    out = beside.folder.parents[3]
    folder = out / "Fusion" / beside.config / setting / beside.folder.name
    words = [*(str(part.folder) for part in parts), "--weights", "equal", "--rectify", how]
    words += ["--text-prediction", "merged"]  # ZSCLIP, which is first, predicts by the global ones
    return Run(
        *("Fusion", beside.config, setting, beside.seed, folder),
        options=("TEST.RECTIFY", how),
        needs=tuple(parts),
        command="fuse",
        words=tuple(words),
    )


def _backbone(trainer: str, config: str) -> str:
    """The name of the backbone in a trainer's yaml file."""
    text = config_path("trainers", trainer, f"{config}.yaml").read_text(encoding="utf-8")
    return str(yaml.safe_load(text)["MODEL"]["BACKBONE"]["NAME"])
