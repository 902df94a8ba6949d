"""What a sweep is made of: runs, each in its place, with the config that fits the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tai_dpt.errors import InputError, unknown
from tai_dpt.io.shipped import config_path

# the recipe of the configs that are called after a backbone alone
USUAL_RECIPE = "voc2007_coco2014"
# trainers in whose configs nothing depends on the benchmark: one serves all
_OF_ANY_BENCHMARK = ("ZSCLIP", "TaIDPTEnsemble", "CoMC", "SPARC", "PIAA", "DualPrompt")

# the shipped world: a few points of each, so that a sweep takes minutes
SMALL = {
    "proportions": ("0.1", "0.5", "0.9"),
    "shots": ("1", "4", "16"),
    "captions": ("100", "1000", "0"),
}


@dataclass(frozen=True)
class Run:
    """One call of ``tai-dpt train``, or of a command that makes a run of other runs."""

    trainer: str
    config: str  # stem of the trainer's yaml file
    setting: str  # what is swept, as a folder name
    seed: int
    folder: Path
    options: tuple[str, ...] = ()  # KEY, VALUE, KEY, VALUE, …
    needs: tuple[Run, ...] = ()  # runs whose results it reads
    command: str = "train"  # another one takes ``words`` alone, and no config file
    words: tuple[str, ...] = ()  # of the command line, besides options

    def __str__(self) -> str:
        return f"{self.trainer}/{self.config}/{self.setting}/seed{self.seed}"

    def derived(
        self, suffix: str, options: Sequence[str], words: Sequence[str], command: str = "train"
    ) -> Run:
        """A run made of this one, beside it; its setting is this one's with ``suffix``."""
        setting = f"{self.setting}_{suffix}"
        return replace(
            self,
            setting=setting,
            folder=self.folder.parents[1] / setting / self.folder.name,
            options=(*self.options, *options),
            needs=(self,),
            words=tuple(words),
            command=command,
        )

    def with_concepts(self) -> Run:
        """The same model, evaluated with the concepts of the captions beside it."""
        key = f"TRAINER.{self.trainer.upper()}.CONCEPTS"
        words = ("--eval-only", "--model-dir", str(self.folder))
        return self.derived("concepts", (key, "True"), words)

    def rescored(self, suffix: str, key: str, value: str, *words: str) -> Run:
        """Its stored scores, changed as the option ``key`` would have it; no model is needed."""
        return self.derived(suffix, (key, value), (str(self.folder), *words), "rescore")


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
    backbones: Sequence[str] = ()

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
        config = choose_config(trainer, config.split() or [config], self.recipe)
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
