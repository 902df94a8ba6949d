"""One scoring function for captions and images (paper, equations 1-4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tai_dpt.features import AnyFeatures, Features, PackedFeatures

# beyond, a softmax is a choice of the largest and a loss no longer a number
Scale = Annotated[float, Field(gt=0, le=10_000)]
Sharpness = Annotated[float, Field(ge=0, le=10_000)]
# how one image's scores are rectified by each other (``tai_dpt.scoring.rectification``)
Rectification = Literal["none", "centre", "standardise", "softmax"]

# of one temporary (B, N, C), 16 MB in fp32
_MOST_SIMILARITIES = 1 << 22


#: the kinds of scores that there are: the prediction first, then its two parts
KINDS = ("merged", "global", "local")


@dataclass(frozen=True)
class Scores:
    """Class scores of a batch, (B, C) each.

    ``own_merged`` is for methods whose prediction is not the mean of the two.
    """

    global_: Tensor
    local: Tensor
    own_merged: Tensor | None = None

    @property
    def merged(self) -> Tensor:
        """The prediction; TaI-DPT's is the mean of the two."""
        return (self.global_ + self.local) / 2 if self.own_merged is None else self.own_merged

    def of(self, kind: str) -> Tensor:
        """The scores of one of ``KINDS``."""
        scores: Tensor = getattr(self, "global_" if kind == "global" else kind)
        return scores


def global_scores(global_: Tensor, embeddings: Tensor, *, scale: float | Tensor) -> Tensor:
    """``κ · g · G``: (B, C) from global features (B, D) and class embeddings (C, D).

    >>> global_scores(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]]), scale=4)
    tensor([[4.0000, 2.4000]])
    """
    return scale * (global_ @ embeddings.T)


def local_scores(
    similarity: Tensor,
    mask: Tensor,
    *,
    scale: float | Tensor,
    sharpness: float | Tensor,
    values: Tensor | None = None,
) -> Tensor:
    """``κ Σ_j softmax_j(β a_j) v_j`` over local positions; (B, C).

    >>> similarity = torch.tensor([[[0.9], [0.1], [0.5]]])  # three places, one class
    >>> mask = torch.tensor([[True, True, False]])
    >>> local_scores(similarity, mask, scale=1, sharpness=0)  # the mean of the two that are there
    tensor([[0.5000]])
    >>> local_scores(similarity, mask, scale=1, sharpness=50)  # the best place alone
    tensor([[0.9000]])

    Args:
        similarity: ``a`` (B, N, C), each position's similarity to each class.
        mask: (B, N), False where a position is padding; such positions get weight 0.
        scale: ``κ``.
        sharpness: ``β``; the larger, the closer to the best position alone.
        values: what is averaged, ``a`` itself when None (B, N, C).
    """
    logits = (sharpness * similarity).masked_fill(~mask[..., None], -math.inf)
    weights = logits.softmax(dim=1)
    return scale * (weights * (similarity if values is None else values)).sum(dim=1)


def score(
    features: AnyFeatures,
    global_embeddings: Tensor,
    local_embeddings: Tensor,
    *,
    scale: float | Tensor,
    sharpness: float | Tensor,
) -> Scores:
    """Global and local scores of captions or images, they are treated alike.

    >>> words = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # two words of one caption
    >>> caption = Features(torch.tensor([[0.6, 0.8]]), words, torch.ones(1, 2, dtype=torch.bool))
    >>> classes = torch.eye(2)
    >>> found = score(caption, classes, classes, scale=4, sharpness=50)
    >>> found.global_, found.local
    (tensor([[2.4000, 3.2000]]), tensor([[4., 4.]]))

    Args:
        features: of ``B`` captions or images, padded or packed.
        global_embeddings: L2-normalised class embeddings (C, D) of the global prompt.
        local_embeddings: of the local prompt.
        scale: ``κ``.
        sharpness: ``β``, the inverse of the paper's temperature τ_s.
    """

    def local(embeddings: Tensor) -> Tensor:
        similarity = _similarity(features, embeddings)
        return local_scores(similarity, features.mask, scale=scale, sharpness=sharpness)

    return Scores(
        global_scores(features.global_, global_embeddings, scale=scale),
        _over_classes(local, features, local_embeddings),
    )


def dual_scores(
    features: AnyFeatures,
    positive: Tensor,
    negative: Tensor,
    *,
    scale: float | Tensor,
    sharpness: float | Tensor,
) -> Scores:
    """DualCoOp's logits: how much more a class's positive prompt fits than its negative one.

    The spatial weights come from the positive prompts and serve both (DualCoOp, equation 4).

    >>> place = torch.tensor([[[1.0, 0.0]]])
    >>> image = Features(torch.tensor([[0.6, 0.8]]), place, torch.ones(1, 1, dtype=torch.bool))
    >>> present, absent = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> dual_scores(image, present, absent, scale=4, sharpness=50).local
    tensor([[4.]])
    """

    def local(positive: Tensor, negative: Tensor) -> Tensor:
        similarity = _similarity(features, positive)
        difference = similarity - _similarity(features, negative)
        return local_scores(
            similarity, features.mask, scale=scale, sharpness=sharpness, values=difference
        )

    return Scores(
        global_scores(features.global_, positive - negative, scale=scale),
        _over_classes(local, features, positive, negative),
    )


def heat_map(features: Features, local_embeddings: Tensor) -> Tensor:
    """Each local position's similarity to each class, (B, N, C); NaN where masked (figure 4).

    >>> places = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    >>> image = Features(places[:, 0], places, torch.tensor([[True, False]]))
    >>> heat_map(image, torch.eye(2))
    tensor([[[1., 0.],
             [nan, nan]]])
    """
    similarity = features.local @ local_embeddings.T
    return similarity.masked_fill(~features.mask[..., None], torch.nan)


def shifted_heat_map(
    encode: Callable[[Tensor], Features],
    pixels: Tensor,
    similarity: Callable[[Features], Tensor],
    *,
    cell: int,
    shifts: int,
) -> Tensor:
    """An image's similarity to ``k`` classes, ``shifts`` times finer than the encoder's cells.

    The image is looked at ``shifts``² times, moved by fractions of a cell.

    Args:
        encode: pixels (1, 3, H, W) to features.
        pixels: the image (1, 3, H, W); H and W are multiples of ``cell``.
        similarity: of each place to each class (1, N, k), of features.
        cell: pixels a side of what one local position sees.

    Returns: (k, H / cell · shifts, W / cell · shifts), on the CPU.

    >>> def encode(pixels):  # a cell's feature is the mean colour of its 2 × 2 pixels
    ...     local = F.avg_pool2d(pixels, 2).flatten(2).transpose(1, 2)
    ...     return Features(local[:, 0], local, torch.ones(local.shape[:2], dtype=torch.bool))
    >>> red = torch.zeros(1, 3, 2, 4)
    >>> red[:, 0, :, 2:] = 1.0  # on the right
    >>> shifted_heat_map(encode, red, lambda seen: seen.local[..., :1], cell=2, shifts=1)
    tensor([[[0., 1.]]])
    """
    height, width = pixels.shape[2:]
    rows, columns = height // cell, width // cell
    fine = torch.zeros(0)
    padded, offsets = pixels, [0]
    if shifts > 1:
        padded = F.pad(pixels, (cell // 2,) * 4, mode="replicate")
        # where views begin in it, so that their cells' middles are evenly spread
        offsets = [round(cell / 2 + ((i + 0.5) / shifts - 0.5) * cell) for i in range(shifts)]
    for down, top in enumerate(offsets):
        for right, left in enumerate(offsets):
            view = padded[..., top : top + height, left : left + width]
            values = similarity(encode(view))[0]  # (N, k)
            if not len(fine):
                fine = torch.zeros(values.shape[1], rows * shifts, columns * shifts)
            fine[:, down::shifts, right::shifts] = values.T.view(-1, rows, columns).cpu()
    return fine


def _similarity(features: AnyFeatures, embeddings: Tensor) -> Tensor:
    """Each local position's similarity to each class (B, N, C); of packed features the
    similarities are padded, not the far wider features."""
    similarity = features.local @ embeddings.T
    return features.pad(similarity) if isinstance(features, PackedFeatures) else similarity


def _over_classes(
    local: Callable[..., Tensor], features: AnyFeatures, *embeddings: Tensor
) -> Tensor:
    """``local`` of the class embeddings (C, D), for so many classes at a time that memory does
    not grow with them: then what is in between is computed again in the backward pass."""
    per_class = max(features.mask.numel(), 1)
    at_once = max(1, _MOST_SIMILARITIES // per_class)
    if len(embeddings[0]) <= at_once:
        return local(*embeddings)
    chunks = zip(*(each.split(at_once) for each in embeddings), strict=True)
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(local, *c, use_reentrant=False) for c in chunks], dim=1)
    return torch.cat([local(*chunk) for chunk in chunks], dim=1)


@dataclass(frozen=True)
class Scoring:
    """The constants of the scores (``tai_dpt.scoring.scores``).

    Args:
        scale: ``κ``.
        sharpness_image: ``β`` on images.
        sharpness_text: ``β`` on captions.
        position_embedding: whether a ResNet's attention pool uses its own.
        rectify: what is done to the scores of each image.
    """

    scale: Scale = 4.0
    sharpness_image: Sharpness = 40.0
    sharpness_text: Sharpness = 50.0
    position_embedding: bool = False
    rectify: Rectification = "none"
