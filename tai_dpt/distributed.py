"""Several processes that train one model: what ``torchrun`` starts, on CPUs (gloo) or GPUs (nccl).

In a process that ``torchrun`` did not start, or alone, every function here does nothing and
returns at once. All ranks must make the same calls in the same order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tai_dpt.errors import InputError, whole_number

T = TypeVar("T")

# A rank may have hours of features to encode while another waits for it; where a process dies,
# torchrun ends the others at once.
_PATIENCE = timedelta(days=7)
# what a launcher says beside WORLD_SIZE
_MEETING = ("RANK", "MASTER_ADDR", "MASTER_PORT")


# of a message about another process that is gone, from gloo
_LOST = ("peer", "onnection", "ocket", "imed out")


@contextmanager
def _with_the_others() -> Iterator[None]:
    """Say in one line that another process is gone, of whatever torch makes of it."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(w in str(error) for w in _LOST):
            raise
        raise ConnectionError(
            f"another of the {world()} processes has ended, so rank {rank()} ends, too: see what "
            "that one said; a training that is started again goes on after the last saved epoch"
        ) from None


def setup(*, cuda: bool) -> None:
    """Join the processes that the environment (``WORLD_SIZE``, ``RANK``, …) speaks of, if any.

    A platform may set ``WORLD_SIZE`` for purposes of its own: where it says neither which of the
    processes this is nor where they meet, this one works alone, and says so.

    Args:
        cuda: whether to compute on GPUs where there are any: rank ``LOCAL_RANK`` on each machine
            takes the GPU of that number.

    Raises:
        InputError: a machine has more processes than GPUs, a variable is no number, or the
            processes cannot meet.
    """
    if whole_number(os.environ, "WORLD_SIZE", 1) < 2 or dist.is_initialized():
        return
    missing = [name for name in _MEETING if not os.environ.get(name, "").strip()]
    if missing:
        print(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} in the environment, without "
            f"{', '.join(missing)}: not started by torchrun, so one process trains alone",
            file=sys.stderr,
        )
        return
    _, size = launched()
    cuda = cuda and torch.cuda.is_available()
    if cuda:
        take_gpu()
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:  # torch's DistError is a RuntimeError
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(
            f"the {size} processes that WORLD_SIZE speaks of cannot meet at {place} "
            f"({str(error).splitlines()[0]}); to train in one process, unset WORLD_SIZE"
        ) from None


def launched() -> tuple[int, int]:
    """Rank and number of the processes that a launcher started, joined or not; else (0, 1).

    Raises:
        InputError: a variable is no number, or there is no such rank.
    """
    size = whole_number(os.environ, "WORLD_SIZE", 1)
    if size < 2 or not os.environ.get("RANK", "").strip():
        return 0, 1
    own = whole_number(os.environ, "RANK", 0)
    if own >= size:
        raise InputError(f"RANK is {own} and WORLD_SIZE {size} in the environment: ranks go from 0")
    return own, size


def take_gpu() -> None:
    """Make GPU ``LOCAL_RANK`` the one that "cuda" means here, of several processes.

    Raises:
        InputError: there are fewer GPUs.
    """
    if launched() == (0, 1) or not torch.cuda.is_available():
        return
    local = whole_number(os.environ, "LOCAL_RANK", 0)
    if local >= torch.cuda.device_count():
        raise InputError(
            f"{local + 1} processes or more on a machine with {torch.cuda.device_count()} GPUs: "
            "lower torchrun's --nproc_per_node, or compute on the CPU (USE_CUDA False, --device "
            "cpu)"
        )
    torch.cuda.set_device(local)


def shutdown() -> None:
    """Leave the group, if this process is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    """Whether this is the process that writes: the log, checkpoints, results."""
    return rank() == 0


@_with_the_others()
def barrier() -> None:
    """Return once every rank has come here."""
    if world() > 1:
        dist.barrier()


@_with_the_others()
def gather(value: T) -> list[T]:
    """Every rank's value (a tensor on the CPU, or anything that can be pickled), on every rank."""
    if world() == 1:
        return [value]
    values: list[T | None] = [None] * world()
    dist.all_gather_object(values, value)
    return cast("list[T]", values)


@_with_the_others()
def weighted_sum(values: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    """``Σ_ranks weight · value`` of each value, fp32 without dimensions, where the values are."""
    summed = torch.stack([value.detach().float() for value in values.values()])
    if world() > 1:
        summed *= weight
        dist.all_reduce(summed)
    return dict(zip(values, summed, strict=True))


@_with_the_others()
def any_of(mask: Tensor) -> Tensor:
    """Where ``mask`` (bool) holds on any rank."""
    if world() == 1:
        return mask
    counts = mask.to(torch.int32)
    dist.all_reduce(counts)
    return counts > 0


@_with_the_others()
def sum_gradients(parameters: Iterable[Tensor]) -> None:
    """Add up the parameters' gradients over the ranks; in one message."""
    if world() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, summed in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(summed.view_as(gradient))


@_with_the_others()
def broadcast(module: nn.Module) -> None:
    """Give every rank the parameters of rank 0."""
    if world() > 1:
        for parameter in module.parameters():
            dist.broadcast(parameter.data, src=0)


def gather_classes(own: Tensor, counts: list[int]) -> Tensor:
    """All ranks' class embeddings (K, C, D), rank after rank, from each rank's (K, C_r, D).

    A rank's gradient by its own classes is the sum over what all ranks did with them.

    Args:
        counts: ``C_r`` of every rank.
    """
    return own if world() == 1 else cast("Tensor", _GatherClasses.apply(own, counts))


class _GatherClasses(torch.autograd.Function):
    @staticmethod
    @_with_the_others()
    def forward(ctx: Any, own: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        padded = own.new_zeros(own.shape[0], max(counts), own.shape[2])
        padded[:, : own.shape[1]] = own
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat(
            [part[:, :count] for part, count in zip(parts, counts, strict=True)], dim=1
        )

    @staticmethod
    @_with_the_others()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed.split(ctx.counts, dim=1)[rank()], None
