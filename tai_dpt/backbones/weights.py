"""Weight files: a path in any of the known formats becomes a state dict in OpenAI's layout."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from tai_dpt.backbones.clip_package import published_files
from tai_dpt.errors import InputError
from tai_dpt.io.arrays import check_zip, open_safetensors
from tai_dpt.io.atomic import atomic_write, file_sha256
from tai_dpt.io.opening import why_no_file

VOCABULARY_SIZE = 49408  # of CLIP's tokenizer
# what OpenAI's archives hold beside the weights: sizes, which the shapes say anyway
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
_FORMATS = "a TorchScript archive, a state dict saved by torch.save, or .safetensors"

StateDict = dict[str, Tensor]


def read_state_dict(path: str | os.PathLike[str], *, sha256: str | None = None) -> StateDict:
    """The state dict in a weight file, on the CPU; half-precision weights become fp32.

    The format is told by the content: a TorchScript archive (as OpenAI publishes), a state dict
    saved by ``torch.save``, also as ``{"state_dict": …}`` and with every key prefixed
    ``module.``, or safetensors. In place of ``token_embedding.weight`` (V, W) a file may hold
    the rows that are used: ``token_rows`` (R, W) and ``token_ids`` (R,); the others are zero.

    Args:
        sha256: what the file's SHA-256 must be; not checked when None.

    Raises:
        InputError: the file is missing, truncated or of another kind, or its checksum differs.
    """
    path = Path(path)
    _check_file(path)
    if sha256 is not None:
        found = file_sha256(path)
        if found != sha256.lower():
            raise InputError(
                f"'{path}' has the wrong checksum: SHA-256 {found}, expected {sha256.lower()}; "
                "it may be another file or a broken copy: fetch it again"
            )
    return _normalise(_unwrap(_read(path), path), path)


def check_values(state: Mapping[str, Tensor], source: str) -> None:
    """Raise InputError for what is no plain tensor of finite numbers, naming it."""
    for key, value in state.items():
        odd = value.is_meta or value.is_complex() or value.is_quantized
        plain = value.layout is torch.strided and not odd
        if not plain or not value.numel():
            raise InputError(f"'{source}': '{key}' is no plain tensor; save the weights as such")
        seen = value.float() if value.element_size() == 1 else value  # numbers of 8 bits
        seen = seen.float().exp() if key == "logit_scale" else seen
        # the extremes of what is not finite are not, and ask for no second copy
        if value.is_floating_point() and not torch.stack(seen.aminmax()).isfinite().all():
            raise InputError(
                f"'{source}': '{key}' holds values that are no finite numbers (its training "
                "failed, or the file is damaged): fetch it again"
            )


def weights_hash(state: Mapping[str, Tensor], *, note: str = "") -> str:
    """SHA-256 over names, shapes and fp32 values: the same for the same weights in any file.

    Counters that no output depends on (``num_batches_tracked``) are left out. ``note`` is hashed
    too: what a model's outputs depend on beside its weights, such as another activation.
    """
    digest = hashlib.sha256(note.encode())
    for key in sorted(state):
        if key.endswith("num_batches_tracked"):
            continue
        values = state[key].detach().to("cpu", torch.float32).numpy().astype("<f4", copy=False)
        digest.update(f"{key} {values.shape}\n".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


# of a layer: what its outputs depend on beside its weights
_SETTINGS = ("num_heads", "eps", "pool_type", "global_pool", "approximate")
_WITHOUT_WEIGHTS = re.compile("gelu|relu|silu|swish|tanh|activation|pool", re.IGNORECASE)


def built_as(model: nn.Module) -> str:
    """SHA-256 over what a library made of a model's config: heads, the ε of norms, activations, how
    it pools and what it sees. The same weights fit where these are others, and give other features.
    """
    found = []
    for name, layer in model.named_modules():
        values = [f"{key} {getattr(layer, key)}" for key in _SETTINGS if hasattr(layer, key)]
        kind = type(layer).__name__
        if next(layer.parameters(), None) is None and _WITHOUT_WEIGHTS.search(kind):
            values.append(kind)
        if getattr(layer, "attn_mask", None) is not None:
            values.append("causal")
        if values:
            found.append(f"{name} {' '.join(values)}\n")
    return hashlib.sha256("".join(found).encode()).hexdigest()


def _read(path: Path, *, run_code: bool = False) -> Any:
    """What the file holds; InputError with one line for whatever goes wrong on the way.

    Args:
        run_code: open TorchScript although nobody knows what it does.
    """
    with path.open("rb") as stream:
        head = stream.read(64)
    try:
        if head.startswith(b"PK"):
            return _read_archive(path, run_code)
        if head[:2] == b"\x80\x02":  # torch.save's format before 1.6: plain pickles
            return torch.load(path, map_location="cpu", weights_only=True)
        if head[8:9] == b"{":  # safetensors: the header's length, then the header in JSON
            with open_safetensors(path) as content:
                return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower():
            raise InputError(
                f"'{path}' holds pickled Python objects, which are not loaded for safety: save "
                "the weights alone, with torch.save(model.state_dict(), …)"
            ) from error
        raise _broken(path, error) from error
    except InputError:
        raise
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, SafetensorError) as error:
        raise _broken(path, error) from error
    if not head:
        raise InputError(f"'{path}' is empty: fetch or copy it again")
    hint = ""
    if head.startswith(b"version https://git-lfs"):
        hint = "; it is a Git LFS pointer: run git lfs pull"
    raise InputError(f"'{path}' is not a weight file (expected {_FORMATS}){hint}")


def _read_archive(path: Path, run_code: bool) -> Any:
    """A zip file: TorchScript, which has code in it, or torch.save's format."""
    check_zip(path)
    with zipfile.ZipFile(path) as archive:
        folders = {member.split("/")[1] for member in archive.namelist() if "/" in member}
    if "data.pkl" not in folders:
        raise InputError(f"'{path}' is a zip file without weights (expected {_FORMATS})")
    if "code" not in folders:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not run_code and file_sha256(path) not in _published_sha256():
        raise InputError(
            f"'{path}' is TorchScript, a program that could do anything when it is opened, and "
            "none of OpenAI's published files: give a state dict or .safetensors; one whose maker "
            "you trust can be converted, tai-dpt convert-weights IN OUT.safetensors"
        )
    with warnings.catch_warnings():
        # OpenAI published TorchScript; that torch moves on from it is nothing a user can mend
        warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        return torch.jit.load(str(path), map_location="cpu").state_dict()


def _published_sha256() -> set[str]:
    table, _ = published_files()
    return {address.split("/")[-2] for address in table.values()}


def convert_weights(source: Path, target: Path) -> int:
    """Write the weights in ``source``, of any format, as safetensors; returns how many tensors.

    TorchScript is run, whoever made it: for files whose maker the user trusts.

    Raises:
        InputError: ``source`` holds no weights.
    """
    _check_file(source)
    state = _unwrap(_read(source, run_code=True), source)
    with atomic_write(target) as stream:
        # safetensors refuses tensors that share memory
        stream.write(
            save(
                {
                    key: value.detach().clone(memory_format=torch.contiguous_format)
                    for key, value in state.items()
                }
            )
        )
    return len(state)


def _check_file(path: Path) -> None:
    if why := why_no_file(path):
        raise InputError(f"cannot read weights from '{path}': {why}")


def _broken(path: Path, error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return InputError(
        f"cannot read weights from '{path}': truncated or corrupt ({reason}); fetch it again"
    )


def _unwrap(content: Any, path: Path) -> StateDict:
    """The state dict itself, without ``{"state_dict": …}`` and ``module.``."""
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"'{path}' holds no state dict but a {type(content).__name__}")
    strange = [k for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strange:
        raise InputError(
            f"'{path}' holds no state dict of CLIP, which is tensors by name: {strange[0]!r} is a "
            f"{type(content[strange[0]]).__name__}"
        )
    check_values(content, str(path))
    if all(key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return {key: value for key, value in content.items() if key not in _NOT_WEIGHTS}


def _normalise(state: StateDict, path: Path) -> StateDict:
    """Full precision throughout, and the token table with all its rows."""
    state = {
        key: value.detach().float() if value.is_floating_point() else value.detach()
        for key, value in state.items()
    }
    if "token_rows" in state or "token_ids" in state:
        state["token_embedding.weight"] = _token_table(
            state.pop("token_rows", None), state.pop("token_ids", None), path
        )
    return state


def _token_table(rows: Tensor | None, ids: Tensor | None, path: Path) -> Tensor:
    """``rows`` (R, W) at their places ``ids`` (R,) in a table of zeros (V, W)."""
    if rows is None or ids is None or rows.ndim != 2 or ids.shape != rows.shape[:1]:
        raise InputError(
            f"'{path}': 'token_rows' (R, width) must come with 'token_ids' (R,), one id a row"
        )
    ids = ids.long()
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < VOCABULARY_SIZE:
        raise InputError(f"'{path}': 'token_ids' must lie between 0 and {VOCABULARY_SIZE - 1}")
    table = rows.new_zeros(VOCABULARY_SIZE, rows.shape[1])
    table[ids] = rows
    return table
