"""What the trainers that learn prompts share."""

from __future__ import annotations

import torch
from yacs.config import CfgNode

from tai_dpt import distributed
from tai_dpt.errors import InputError, unknown
from tai_dpt.prompts.learner import (
    CLASS_TOKEN_POSITIONS,
    PromptEncoder,
    PromptLearner,
    class_tokens,
    load_contexts,
)
from tai_dpt.toolbox import load_checkpoint
from tai_dpt.trainers.multilabel import MultiLabelTrainer


def check_prompt_options(cfg: CfgNode, name: str) -> None:
    """Raise InputError for prompt options under ``TRAINER.<name>`` that make no prompt."""
    options = cfg.TRAINER[name]
    position = options.CLASS_TOKEN_POSITION
    if position not in CLASS_TOKEN_POSITIONS:
        raise unknown("class-token position", position, CLASS_TOKEN_POSITIONS)
    if options.N_CTX < 1:
        raise InputError(f"TRAINER.{name}.N_CTX is {options.N_CTX}; at least 1")


def build_prompt_learner(trainer: MultiLabelTrainer, *, names: tuple[str, ...]) -> PromptLearner:
    """The prompt learner that a trainer's options and ``MODEL.INIT_WEIGHTS`` describe.

    The start is drawn from ``SEED`` alone, so that it is the same on every device and toolbox.
    """
    cfg, options, backbone = trainer.cfg, trainer.options, trainer.backbone
    class_names = trainer.dataset.classnames
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
    if cfg.SEED >= 0:
        generator.manual_seed(cfg.SEED)
    else:
        generator.seed()
    learner = PromptLearner(
        encoder=encoder,
        names=names,
        class_names=class_names,
        n_ctx=n_ctx,
        init=init,
        generator=generator,
    ).to(trainer.device)
    if cfg.MODEL.INIT_WEIGHTS:
        load_contexts(learner, load_checkpoint(cfg.MODEL.INIT_WEIGHTS)["state_dict"])
        print(f"Contexts start from {cfg.MODEL.INIT_WEIGHTS}")
    return learner
