"""The base of the trainers that learn prompts: a method adds its options, scores and loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.errors import InputError, unknown
from tai_dpt.features import AnyFeatures
from tai_dpt.prompts.learner import (
    CLASS_TOKEN_POSITIONS,
    PromptEncoder,
    PromptLearner,
    adapt_state_dict,
    class_tokens,
    load_contexts,
)
from tai_dpt.scoring.scores import Scores
from tai_dpt.toolbox import build_lr_scheduler, build_optimizer, load_checkpoint
from tai_dpt.trainers.multilabel import MultiLabelTrainer, Scorer

# of every method that learns prompts
PROMPT_OPTIONS: dict[str, Any] = {
    "N_CTX": 16,  # number of context vectors
    "CSC": False,  # class-specific context
    "CTX_INIT": "",  # words to start the context from; then N_CTX is their token count
    "CLASS_TOKEN_POSITION": "end",  # end, middle or front
    "PREC": "fp32",  # the frozen towers: fp32, bf16 or fp16; scores and loss are always fp32
}


class PromptTrainer(MultiLabelTrainer):
    """Learns context vectors, and what ``learned_numbers`` names, by a loss over scores.

    A method defines ``scores`` and ``loss_parts``; where its data come from, ``CaptionTrainer`` or
    ``ImageTrainer`` says.
    """

    default_options = PROMPT_OPTIONS
    model: PromptLearner

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

    def loss_parts(self, scores: Scores, labels: Tensor) -> dict[str, Tensor]:
        """The parts of the loss, by the names the log shows; their sum is minimised."""
        raise NotImplementedError

    # -- what all of them do ---------------------------------------------------------------------

    def check_cfg(self, cfg: CfgNode) -> None:
        super().check_cfg(cfg)
        options = self.options_of(cfg)
        position = options.CLASS_TOKEN_POSITION
        if position not in CLASS_TOKEN_POSITIONS:
            raise unknown("class-token position", position, CLASS_TOKEN_POSITIONS)
        if options.N_CTX < 1:
            raise InputError(f"{self.options_key(cfg)}.N_CTX is {options.N_CTX}; at least 1")

    def build_model(self) -> None:
        self.model = self._prompt_learner()
        if self.cfg.MODEL.INIT_WEIGHTS:
            self._start_from(self.cfg.MODEL.INIT_WEIGHTS)
        self.optim = build_optimizer(self.model, self.cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
        self.register_model("prompt_learner", self.model, self.optim, self.sched)

    def adapt_state_dict(self, name: str, state_dict: dict[str, Any]) -> dict[str, Any]:
        return adapt_state_dict(self.model, state_dict)

    def forward_backward(self, batch: dict[str, Any]) -> dict[str, float]:
        learned = self.model() | self.model.numbers()
        scores = self.scores(batch["features"], learned, training=True)
        parts = self.loss_parts(scores, batch["label"])
        loss = torch.stack(list(parts.values())).sum()
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return self.logged({"loss": loss, **parts})

    def scorer(self) -> Scorer:
        learned = {n: value.detach() for n, value in (self.model() | self.model.numbers()).items()}
        return lambda features: self.scores(features, learned, training=False)

    def _start_from(self, checkpoint: str) -> None:
        """Take over what another run learned, as far as it is of these classes."""
        content = load_checkpoint(checkpoint)
        if "state_dict" not in content:
            raise InputError(f"{checkpoint} has no 'state_dict'; it holds: {', '.join(content)}")
        try:
            fresh = load_contexts(self.model, content["state_dict"])
        except InputError as error:
            raise InputError(f"MODEL.INIT_WEIGHTS {checkpoint}: {error}") from error
        print(f"Contexts start from {checkpoint}")
        if fresh:
            shown = ", ".join(fresh[:5]) + (", …" if len(fresh) > 5 else "")
            print(f"{len(fresh)} of {self.num_classes} classes are not in it, start anew: {shown}")

    def _prompt_learner(self) -> PromptLearner:
        """Its start is drawn from ``SEED`` alone: the same on every device and toolbox."""
        options, backbone = self.options, self.backbone
        class_names = self.dataset.classnames
        n_ctx, init = options.N_CTX, None
        if options.CTX_INIT:
            tokens = backbone.tokenize([options.CTX_INIT.replace("_", " ")])[0][1:-1]
            n_ctx, init = len(tokens), backbone.text.token_table[tokens].cpu()
        encoder = PromptEncoder(
            text=backbone.text,
            classes=class_tokens(class_names, backbone.tokenize),
            start_id=backbone.tokenize([""])[0][0],
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
