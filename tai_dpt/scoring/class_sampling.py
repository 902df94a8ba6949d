"""A step need not see every class: a weighted draw gives the same gradient in expectation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tai_dpt.errors import InputError

LEAST_CLASSES = 3  # a pair of named classes, and one that is not
# of the places, those kept for classes that the batch does not name, where it names very many
_RESERVED = 4  # one in so many


@dataclass(frozen=True)
class ClassDraw:
    """The classes of one step, on the CPU.

    Args:
        classes: (K,), ascending.
        pair_weights: (K,) of each class as the negative of a pair whose positive is among them:
            the inverse of the probability that both are drawn. For the ranking loss.
        class_weights: (K,) the inverse of the probability that the class is drawn. For losses
            that are sums over the classes.
    """

    classes: Tensor
    pair_weights: Tensor
    class_weights: Tensor


def draw_classes(named: Tensor, places: int, *, generator: torch.Generator) -> ClassDraw:
    """Draw ``places`` classes: those a batch names as far as they fit, the rest at random.

    Where the batch names more than fit, the named are a random draw too, and a quarter of the
    places stays for the others: every pair of a positive and a negative class has a chance, and
    its weight makes up for it, so that the ranking loss and its gradient are unbiased.

    Args:
        named: (C,) bool, whether a sample of the batch (on any process) has the class.
        places: ``K``; with ``K >= C`` all classes are taken, with weight 1.
        generator: on the CPU.

    Raises:
        InputError: fewer places than ``LEAST_CLASSES``.

    >>> named = torch.tensor([False, True, False, True, False, False])
    >>> draw = draw_classes(named, 4, generator=torch.Generator().manual_seed(0))
    >>> len(draw.classes), {1, 3} <= set(draw.classes.tolist())
    (4, True)
    >>> sorted(draw.class_weights.tolist())  # two of the four others were drawn
    [1.0, 1.0, 2.0, 2.0]
    """
    count = len(named)
    if places < min(LEAST_CLASSES, count):
        raise InputError(
            f"{places} classes a step are too few; at least {LEAST_CLASSES}, or 0: all"
        )
    if places >= count:
        return ClassDraw(torch.arange(count), torch.ones(count), torch.ones(count))
    named = named.cpu()
    ours, others = named.nonzero().flatten(), (~named).nonzero().flatten()
    reserved = min(max(1, places // _RESERVED), len(others))
    of_ours = min(len(ours), places - reserved)
    of_others = places - of_ours
    drawn = [
        pool[torch.randperm(len(pool), generator=generator)[:size]]
        for pool, size in ((ours, of_ours), (others, of_others))
    ]
    # probability that a named class is drawn, another one, and a further named one given the first
    named_drawn = of_ours / max(len(ours), 1)
    other_drawn = of_others / max(len(others), 1)
    another_named = (of_ours - 1) / (len(ours) - 1) if len(ours) > 1 else 1.0
    classes, order = torch.cat(drawn).sort()

    def inverse(chance_of_named: float, chance_of_other: float) -> Tensor:
        chances = torch.tensor([chance_of_named] * of_ours + [chance_of_other] * of_others)
        # a chance of 0 weighs what cannot occur: a batch that names nothing has no pair
        return 1 / chances[order].clamp(min=torch.finfo().tiny)

    return ClassDraw(
        classes,
        inverse(named_drawn * another_named, named_drawn * other_drawn),
        inverse(named_drawn, other_drawn),
    )
