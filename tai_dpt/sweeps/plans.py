"""Which runs make up the paper's tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.shipped import config_path

# λ of the public code: the weight of the image-learned scores
PARTIAL_WEIGHT, FEW_SHOT_WEIGHT = "0.9", "0.6"

PROPORTIONS = tuple(f"0.{tenth}" for tenth in range(1, 10))
SHOTS = ("1", "2", "4", "8", "16")
CAPTIONS = ("1000", "4000", "16000", "64000", "0")  # 0: all there are

# the recipe of the configs that are called after a backbone alone
USUAL_RECIPE = "voc2007_coco2014"
# trainers in whose configs nothing depends on the benchmark: one serves all
_OF_ANY_BENCHMARK = ("ZSCLIP", "TaIDPTEnsemble")

# the shipped world: a few points of each, so that a sweep takes minutes
SMALL = {
    "proportions": ("0.1", "0.5", "0.9"),
    "shots": ("1", "4", "16"),
    "captions": ("100", "1000", "0"),
}


@dataclass(frozen=True)
class Run:
    """One call of ``train.py``."""

    trainer: str
    config: str  # stem of the trainer's yaml file
    setting: str  # what is swept, as a folder name
    seed: int
    folder: Path
    options: tuple[str, ...] = ()  # KEY, VALUE, KEY, VALUE, …
    needs: tuple[Run, ...] = ()  # runs whose results it reads

    def __str__(self) -> str:
        return f"{self.trainer}/{self.config}/{self.setting}/seed{self.seed}"


@dataclass(frozen=True)
class Recipe:
    """What a plan is made for. An empty list of points stands for the usual ones."""

    dataset: str  # stem of the dataset's yaml file
    seeds: Sequence[int]
    out: Path
    recipe: str = USUAL_RECIPE  # of the benchmark: DATASET.RECIPE of its yaml file
    published_coco: bool = False  # COCO's captions and filter are the public code's
    text_config: str = "rn50"
    image_config: str = ""  # "": rn101 on partial labels (the paper's), rn50 on few images
    proportions: Sequence[str] = ()
    shots: Sequence[str] = ()
    captions: Sequence[str] = ()

    def run(
        self,
        trainer: str,
        config: str,
        setting: str,
        seed: int,
        options: Sequence[str] = (),
        needs: Sequence[Run] = (),
    ) -> Run:
        """A run in its place: out/dataset/trainer/config/setting/seed.

        ``config`` is what ``choose_config`` starts from, or several of that, the best one first.
        """
        config = choose_config(trainer, config.split(), self.recipe)
        folder = self.out / self.dataset / trainer / config / setting / f"seed{seed}"
        return Run(trainer, config, setting, seed, folder, tuple(options), tuple(needs))

    def points(self, name: str, usual: Sequence[str]) -> Sequence[str]:
        """The asked-for points of ``name``, else the usual ones."""
        return getattr(self, name) or (SMALL[name] if self.dataset == "emoji_scenes" else usual)


def choose_config(trainer: str, bases: Sequence[str], recipe: str) -> str:
    """The stem of a trainer's yaml file for a benchmark's recipe (``DATASET.RECIPE``).

    For the first of ``bases`` that can be, it is ``base``_``recipe``, or ``recipe`` itself; the
    usual recipe's, and that of trainers whose configs suit every benchmark, is ``base``.

    Raises InputError, listing what there is, where there is none of them.
    """
    folder = config_path("trainers", trainer)
    present = sorted(path.stem for path in folder.glob("*.yaml"))
    if not present:
        raise InputError(f"{folder} holds no config: the trainer {trainer} is not there")
    plain = recipe == USUAL_RECIPE or trainer in _OF_ANY_BENCHMARK
    for base in bases:
        for stem in (f"{base}_{recipe}", recipe, *([base] if plain else [])):
            if stem in present:
                return stem
    wanted = bases[-1] if plain else f"{bases[-1]}_{recipe}"
    raise unknown(f"config of {trainer}", wanted, present)


def table1(recipe: Recipe) -> list[Run]:
    """Zero-shot CLIP (which has no randomness: the first seed stands for all) and TaI-DPT."""
    zero_shot = recipe.run("ZSCLIP", recipe.text_config, "default", recipe.seeds[0])
    return [zero_shot, *(_tai_dpt(recipe, seed) for seed in recipe.seeds)]


def table2(recipe: Recipe) -> list[Run]:
    """DualCoOp on partial labels, TaI-DPT (once a seed) and their ensemble.

    Every seed has a mask of its own, so the deviation over seeds includes the draw of labels. Where
    COCO is as published, crowds are no labels in any of the runs, TaI-DPT's too, as in the public
    code for this table alone: an ensemble needs one labelling.
    """
    crowds = ("DATASET.COCO.CROWD", "paper") if recipe.published_coco else ()
    runs = []
    for seed in recipe.seeds:
        text = _tai_dpt(recipe, seed, "no_crowds" if crowds else "default", crowds)
        runs.append(text)
        for proportion in recipe.points("proportions", PROPORTIONS):
            _check(proportion, "PROPORTIONS", 0 < _number(proportion, "PROPORTIONS") <= 1)
            partial = (
                *("DATASET.PARTIAL.PROPORTION", proportion, "DATASET.PARTIAL.SEED", str(seed)),
                *crowds,
            )
            config = recipe.image_config or "rn101"
            image = recipe.run("DualCoOp", config, f"partial{proportion}", seed, partial)
            runs += [image, _ensemble(recipe, text, image, config, PARTIAL_WEIGHT)]
    return runs


def figure6(recipe: Recipe) -> list[Run]:
    """Multi-label CoOp on a few images of each class, and its ensemble with TaI-DPT."""
    runs = []
    for seed in recipe.seeds:
        text = _tai_dpt(recipe, seed)
        runs.append(text)
        for shots in recipe.points("shots", SHOTS):
            _check(shots, "SHOTS", shots.isdecimal() and int(shots) > 0)
            few = ("DATASET.NUM_SHOTS", shots)
            config = recipe.image_config or "rn50"
            image = recipe.run("MLCoOp", config, f"shots{shots}", seed, few)
            configs = f"{config}_fewshot {config}"
            runs += [image, _ensemble(recipe, text, image, configs, FEW_SHOT_WEIGHT)]
    return runs


def figure7(recipe: Recipe) -> list[Run]:
    """TaI-DPT over the number of captions, and zero-shot CLIP to compare with."""
    runs = [recipe.run("ZSCLIP", recipe.text_config, "default", recipe.seeds[0])]
    for seed in recipe.seeds:
        for captions in recipe.points("captions", CAPTIONS):
            _check(captions, "CAPTIONS", captions.isdecimal())
            if int(captions) == 0:
                runs.append(_tai_dpt(recipe, seed))
                continue
            options = ("DATASET.CORPUS.MAX_CAPTIONS", captions)
            setting = f"captions{captions}"
            runs.append(recipe.run("TaIDPT", recipe.text_config, setting, seed, options))
    return runs


PLANS: dict[str, Callable[[Recipe], list[Run]]] = {
    "table1": table1,
    "table2": table2,
    "figure6": figure6,
    "figure7": figure7,
}


def _tai_dpt(
    recipe: Recipe, seed: int, setting: str = "default", options: Sequence[str] = ()
) -> Run:
    return recipe.run("TaIDPT", recipe.text_config, setting, seed, options)


def _ensemble(recipe: Recipe, text: Run, image: Run, config: str, weight: str) -> Run:
    node = "TRAINER.TAIDPTENSEMBLE"
    options = (
        *image.options,
        *(f"{node}.TEXT_RUN", str(text.folder)),
        *(f"{node}.IMAGE_RUN", str(image.folder)),
        *(f"{node}.WEIGHT", weight),
    )
    needs = (text, image)
    return recipe.run("TaIDPTEnsemble", config, image.setting, image.seed, options, needs)


def _number(value: str, name: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"{name}: '{value}' is not a number") from None


def _check(value: str, name: str, fine: bool) -> None:
    if not fine:
        valid = {"PROPORTIONS": "above 0, at most 1", "SHOTS": "1 or more"}
        raise InputError(f"{name}: '{value}' is out of range; {valid.get(name, '0 (all) or more')}")
