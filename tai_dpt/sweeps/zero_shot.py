"""Classes that nothing is learned for: the paper's table 3, and seen and unseen classes."""

from __future__ import annotations

from dataclasses import replace

from tai_dpt.errors import InputError
from tai_dpt.sweeps.paper_plans import few_shot_runs
from tai_dpt.sweeps.runs import Recipe, Run

_NOVEL = "coco2014_novel"
_FEW = ("1", "5")
# seen, unseen and all classes of each benchmark; of any other by LaSO's rule, a fifth unseen
_SPLITS = {
    "coco2014": ("seen48", "unseen17", "all65"),
    "nuswide": ("tags925", "concepts81", "all1006"),
}
_WITH_A_CLASS = ("DATASET.EVAL_IMAGES", "any_positive")


def table3(recipe: Recipe) -> list[Run]:
    """COCO's 16 novel classes: zero-shot CLIP and TaI-DPT without labels, CoOp and its ensemble
    with TaI-DPT on few images; each on all images and on those that show one of the classes.

    Raises:
        InputError: another data set.
    """
    if not recipe.dataset.startswith(_NOVEL):
        raise InputError(f"table 3 is of the data set {_NOVEL}, not of {recipe.dataset}")
    zero_shot = recipe.run("ZSCLIP", recipe.text_config, "default", recipe.seeds[0])
    runs = [zero_shot, *few_shot_runs(replace(recipe, shots=recipe.shots or _FEW))]
    words = ("--rectify", "none", "--eval-images", "any_positive")
    return runs + [run.rescored("any_positive", *_WITH_A_CLASS, *words) for run in runs]


def zero_shot(recipe: Recipe) -> list[Run]:
    """Learned for the seen classes, tested on the unseen and on all; and zero-shot CLIP.

    Class-shared contexts carry over from class to class: TaI-DPT's, learned from captions, and
    DualCoOp's, learned from the images and all labels of the seen classes.
    """
    benchmark = next((name for name in _SPLITS if recipe.dataset.startswith(name)), "")
    seen, unseen, every = _SPLITS.get(benchmark, ("seen", "unseen", "seen_and_unseen"))
    on = {
        place: ("DATASET.CLASSES", classes, *_WITH_A_CLASS)
        for place, classes in (("unseen", unseen), ("generalised", every))
    }
    runs = [
        recipe.run("ZSCLIP", recipe.text_config, place, recipe.seeds[0], options)
        for place, options in on.items()
    ]
    methods: dict[str, tuple[str, tuple[str, ...]]] = {
        "TaIDPT": (recipe.text_config, ()),
        "DualCoOp": (recipe.image_config or "rn101", ("TRAINER.DUALCOOP.CSC", "False")),
    }
    for seed in recipe.seeds:
        for trainer, (config, own) in methods.items():
            learned = recipe.run(trainer, config, "seen", seed, ("DATASET.CLASSES", seen, *own))
            start = ("MODEL.INIT_WEIGHTS", str(learned.folder))
            runs.append(learned)
            for place, options in on.items():
                test = recipe.run(trainer, config, place, seed, (*options, *own, *start), [learned])
                runs.append(replace(test, words=("--eval-only",)))
    return runs
