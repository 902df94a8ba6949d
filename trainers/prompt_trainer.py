"""The base of the trainers that learn prompts: a method adds its options, scores and loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.errors import InputError, first_few
from tai_dpt.features import AnyFeatures, StorePlan
from tai_dpt.prompts.learner import (
    PromptEncoder,
    PromptLearner,
    adapt_state_dict,
    class_tokens,
    load_contexts,
    special_tokens,
)
from tai_dpt.scoring.class_sampling import LEAST_CLASSES, ClassDraw, draw_classes
from tai_dpt.scoring.methods import Learned, Mix, Prompts
from tai_dpt.scoring.results import flat_config
from tai_dpt.scoring.scores import Scores, Scoring, score
from tai_dpt.toolbox import build_lr_scheduler, build_optimizer, load_checkpoint
from tai_dpt.toolbox.checkpoint import find_checkpoint
from tai_dpt.trainers.class_texts import caption_concepts
from tai_dpt.trainers.multilabel import MultiLabelTrainer, Scorer

# of every method that learns prompts
PROMPT_OPTIONS: dict[str, Any] = {
    "N_CTX": 16,  # number of context vectors
    "CSC": False,  # class-specific context
    "CTX_INIT": "",  # words to start the context from; then N_CTX is their token count
    "CLASS_TOKEN_POSITION": "end",  # end, middle or front
    "CLASSES_PER_STEP": 0,  # classes that a step sees; 0: all of up to 1,000, 256 of more
    "CONCEPTS": False,  # in a test, add the scores of the captions' concepts
    "PREC": "fp32",  # the frozen towers: fp32, bf16, fp16 or auto; the rest is fp32
}


_MOST_CLASSES = 1000  # that a step sees without being told to
_CLASSES_DRAWN = 256


class PromptTrainer(MultiLabelTrainer):
    """Learns context vectors, and what ``learned_numbers`` names, by a loss over scores.

    A method defines ``scores`` and ``loss_parts``; where its data come from, ``CaptionTrainer`` or
    ``ImageTrainer`` says.
    """

    default_options = PROMPT_OPTIONS
    model: PromptLearner
    starts_from_weights = reads_captions = True  # captions for CONCEPTS, at least

    # -- what a method defines -------------------------------------------------------------------

    def context_names(self) -> tuple[str, ...]:
        """The prompts it learns."""
        return ("global", "local")

    def learned_numbers(self) -> dict[str, float]:
        """What it learns besides: names and where they start."""
        return {}

    def scores(
        self, features: AnyFeatures, learned: Mapping[str, Tensor], *, training: bool
    ) -> Scores:
        """Scores (B, C) of captions or images.

        Args:
            learned: class embeddings (C, D) by ``context_names``, and the learned numbers.
            training: what is scored is a training batch, not an image to be recognised.
        """
        raise NotImplementedError

    def loss_parts(
        self, scores: Scores, labels: Tensor, draw: ClassDraw | None
    ) -> dict[str, Tensor]:
        """The parts of the loss, by the names the log shows; their sum is minimised.

        Args:
            scores: (B, C), or (B, K) of the classes that were drawn.
            labels: the same.
            draw: those classes and their weights; None where it is all of them.
        """
        raise NotImplementedError

    def concept_constants(self, learned: Mapping[str, Tensor]) -> dict[str, float | Tensor]:
        """``scale`` and ``sharpness`` of concepts' scores, so that they add to the method's."""
        raise NotImplementedError

    def training_features(self, features: AnyFeatures) -> AnyFeatures:
        """A training batch's features as the loss sees them."""
        return features

    def draw(self, labels: Tensor) -> ClassDraw | None:
        """The classes of a step, where it does not see all of them; the same on all ranks."""
        places = self.options.CLASSES_PER_STEP
        if not places and self.num_classes > _MOST_CLASSES:
            places = _CLASSES_DRAWN
        if not places or places >= self.num_classes:
            return None
        named = distributed.any_of((labels > 0).any(dim=0))
        return draw_classes(named, places, generator=self.step_generator("classes"))

    # -- what all of them do ---------------------------------------------------------------------

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        # on a stand-in, as the real ones come when captions and backbone are read
        build_lr_scheduler(
            build_optimizer([torch.nn.Parameter(torch.zeros(1))], cfg.OPTIM), cfg.OPTIM
        )
        places = self.options_of(cfg).CLASSES_PER_STEP
        if places and places < LEAST_CLASSES:
            raise InputError(
                f"{self.options_key(cfg)}.CLASSES_PER_STEP is {places}; 0 (automatic), or at least "
                f"{LEAST_CLASSES}"
            )

    def build_model(self) -> None:
        """The prompts, started at random, from words or from another run, and their optimiser.

        Raises:
            InputError: a class name that is too long, or ``INIT_WEIGHTS`` that do not fit.
        """
        self.model = self._prompt_learner()
        if self.cfg.MODEL.INIT_WEIGHTS:
            self._start_from(self.cfg.MODEL.INIT_WEIGHTS)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def kept_features(self) -> list[StorePlan]:
        plans = super().kept_features()
        return [self.captions, *plans] if plans and self.options.CONCEPTS else plans

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """As the toolbox does.

        Raises:
            InputError: it was learned with the class's name at another place in the prompt.
        """
        super().load_model(directory, epoch)
        key = f"{self.options_key(self.cfg)}.CLASS_TOKEN_POSITION"
        learned = flat_config(self.model_state.config or {}).get(key)
        if learned not in (None, self.options.CLASS_TOKEN_POSITION):
            raise InputError(
                f"conflict: {self.model_state.checkpoint} was trained with {key} {learned}, and "
                f"{self.options.CLASS_TOKEN_POSITION} is asked for: evaluate it as it was trained"
            )

    def adapt_state_dict(self, name: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        return adapt_state_dict(self.model, state_dict)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """A training step: the loss and its parts, by the names the log shows."""
        labels = batch["label"]
        draw = self.draw(labels)
        classes = None
        if draw is not None:
            classes, labels = draw.classes.tolist(), labels[:, draw.classes]
        learned = self.model(classes) | self.model.numbers()
        features = self.training_features(batch["features"])
        scores = self.scores(features, learned, training=True)
        parts = self.loss_parts(scores, labels, draw)
        loss = torch.stack(list(parts.values())).sum()
        with self._others_untouched(draw):
            self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return self.logged({"loss": loss, **parts})

    def scorer(self) -> Scorer:
        """Class embeddings are computed once, here; ``CONCEPTS`` adds the captions' own scores."""
        learned = {n: value.detach() for n, value in (self.model() | self.model.numbers()).items()}
        if not self.options.CONCEPTS:
            return lambda features: self.scores(features, learned, training=False)
        concepts, constants = self.concepts, self.concept_constants(learned)

        def both(features: AnyFeatures) -> Scores:
            ours = self.scores(features, learned, training=False)
            theirs = score(features, concepts, concepts, **constants)
            return Scores(ours.global_ + theirs.global_, ours.local + theirs.local)

        return both

    def local_prompt(self) -> str:
        """The prompt that the parts of an image are compared with."""
        return "local"

    @torch.no_grad()
    def learned(self) -> Learned | None:
        """Prompts, or with ``CONCEPTS`` a mix; None without a global and a local prompt."""
        embeddings = self.model()
        if self.local_prompt() not in embeddings:
            return None
        tensors = {"global": embeddings["global"], "local": embeddings[self.local_prompt()]}
        constants = self.concept_constants(embeddings)
        scoring = Scoring(
            scale=float(constants["scale"]),
            sharpness_image=float(constants["sharpness"]),
            sharpness_text=self.options.get("SHARPNESS_TEXT", Scoring.sharpness_text),
            position_embedding=self.position_embedding,
        )
        if not self.options.CONCEPTS:
            return Learned(Prompts(), tensors, scoring)
        return Learned(Mix(), {**tensors, "concepts": self.concepts}, scoring)

    @cached_property
    def concepts(self) -> Tensor:
        """What the captions that name a class have in common (C, D)."""
        return caption_concepts(self.backbone, self.dataset, self.captions.open())

    @contextmanager
    def _others_untouched(self, draw: ClassDraw | None) -> Iterator[None]:
        """With contexts of their own, classes that were not drawn keep theirs, momentum and all:
        the optimiser's weight decay and momentum would move them."""
        if draw is None or not self.options.CSC:
            yield
            return
        mask = torch.ones(self.num_classes, dtype=torch.bool)
        mask[draw.classes] = False
        others = mask.nonzero().flatten().to(self.device, non_blocking=True)
        contexts = [getattr(self.model, f"ctx_{name}") for name in self.model.names]
        kept = [
            (tensor, tensor.detach()[others].clone())
            for context in contexts
            for tensor in (context, *self._optimizer_rows(context))
        ]
        yield
        with torch.no_grad():
            for tensor, rows in kept:
                tensor[others] = rows

    def _optimizer_rows(self, context: Tensor) -> list[Tensor]:
        """The optimiser's running values of a context, row for row as the context is."""
        state = self.optim.state.get(context, {}).values()
        return [v for v in state if isinstance(v, Tensor) and v.shape == context.shape]

    def _start_from(self, checkpoint: str) -> None:
        """Take over what another run learned, as far as it is of these classes.

        Args:
            checkpoint: its file, or the run's folder, whose model for evaluation it is.
        """
        if Path(checkpoint).is_dir():
            folder = Path(checkpoint) / "prompt_learner"
            checkpoint = str(find_checkpoint(folder, None, report=self.log))
        content = load_checkpoint(checkpoint, report=self.log)
        if "state_dict" not in content:
            raise InputError(f"{checkpoint} has no 'state_dict'; it holds: {', '.join(content)}")
        try:
            fresh = load_contexts(self.model, content["state_dict"])
        except InputError as error:
            raise InputError(f"MODEL.INIT_WEIGHTS {checkpoint}: {error}") from error
        self.log(f"Contexts start from {checkpoint}")
        if fresh:
            shown = first_few(fresh)
            self.log(f"{len(fresh)} of {self.num_classes} classes not in it start anew: {shown}")

    def _prompt_learner(self) -> PromptLearner:
        """Its start is drawn from ``SEED`` alone: the same on every device and toolbox."""
        options, backbone = self.options, self.backbone
        class_names = self.dataset.classnames
        n_ctx, init = options.N_CTX, None
        if options.CTX_INIT:
            before, behind = special_tokens(backbone.tokenize)
            ids = backbone.tokenize([options.CTX_INIT.replace("_", " ")])[0]
            tokens = ids[len(before) : len(ids) - len(behind)]
            n_ctx, init = len(tokens), backbone.text.token_table[tokens].cpu()
        encoder = PromptEncoder(
            text=backbone.text,
            classes=class_tokens(class_names, backbone.tokenize),
            start_id=next(iter(special_tokens(backbone.tokenize)[0]), None),
            n_ctx=n_ctx,
            csc=options.CSC,
            position=options.CLASS_TOKEN_POSITION,
            ranks=(distributed.rank(), distributed.world()),
        )
        generator = torch.Generator()
        if self.cfg.SEED >= 0:
            generator.manual_seed(self.cfg.SEED)
        else:
            generator.seed()
        return PromptLearner(
            encoder=encoder,
            names=self.context_names(),
            class_names=class_names,
            n_ctx=n_ctx,
            init=init,
            generator=generator,
            numbers=self.learned_numbers(),
        ).to(self.device)
