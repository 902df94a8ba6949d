"""Which runs make up the paper's tables and figures."""

from __future__ import annotations

from collections.abc import Sequence

from tai_dpt.errors import InputError
from tai_dpt.sweeps.runs import Recipe, Run

# λ of the public code: the weight of the image-learned scores
PARTIAL_WEIGHT, FEW_SHOT_WEIGHT = "0.9", "0.6"

PROPORTIONS = tuple(f"0.{tenth}" for tenth in range(1, 10))
SHOTS = ("1", "2", "4", "8", "16")
CAPTIONS = ("1000", "4000", "16000", "64000", "0")  # 0: all there are


def table1(recipe: Recipe) -> list[Run]:
    """Zero-shot CLIP (which has no randomness: the first seed stands for all) and TaI-DPT."""
    zero_shot = recipe.run("ZSCLIP", recipe.text_config, "default", recipe.seeds[0])
    return [zero_shot, *(_tai_dpt(recipe, seed) for seed in recipe.seeds)]


def table2(recipe: Recipe) -> list[Run]:
    """DualCoOp on partial labels, TaI-DPT (once a seed) and their ensemble; each model again with
    the captions' concepts beside it.

    Every seed has a mask of its own, so the deviation over seeds includes the draw of labels. Where
    COCO is as published, crowds are no labels in any of the runs, TaI-DPT's too, as in the public
    code for this table alone: an ensemble needs one labelling.
    """
    crowds = ("DATASET.COCO.CROWD", "paper") if recipe.published_coco else ()
    runs = []
    for seed in recipe.seeds:
        text = _tai_dpt(recipe, seed, "no_crowds" if crowds else "default", crowds)
        text_beside = text.with_concepts()
        runs += [text, text_beside]
        for proportion in recipe.points("proportions", PROPORTIONS):
            _check(proportion, "PROPORTIONS", 0 < _number(proportion, "PROPORTIONS") <= 1)
            partial = (
                *("DATASET.PARTIAL.PROPORTION", proportion, "DATASET.PARTIAL.SEED", str(seed)),
                *crowds,
            )
            config = recipe.image_config or "rn101"
            image = recipe.run("DualCoOp", config, f"partial{proportion}", seed, partial)
            image_beside = image.with_concepts()
            for parts in ((text, image), (text_beside, image_beside)):
                runs += [parts[1], _ensemble(recipe, *parts, config, PARTIAL_WEIGHT)]
    return runs


def few_shot_runs(recipe: Recipe) -> list[Run]:
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
