"""A frozen CLIP that turns captions and images into the same kind of features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tai_dpt.backbones.building import build_clip
from tai_dpt.backbones.download import NAMES, download
from tai_dpt.backbones.hub import CONFIG_FILES, hint
from tai_dpt.backbones.open_clip_models import load_open_clip
from tai_dpt.backbones.precision import PRECISIONS
from tai_dpt.backbones.preprocessing import Preprocessing
from tai_dpt.backbones.towers import Towers, towers_of
from tai_dpt.backbones.transformers_models import load_transformers
from tai_dpt.backbones.weights import read_state_dict
from tai_dpt.device import choose_device
from tai_dpt.errors import InputError, unknown
from tai_dpt.features import Features
from tai_dpt.io.opening import expanded
from tai_dpt.io.shipped import SHIPPED, backbone_file

_ELSEWHERE = (
    "or a path to a weight file, open_clip:ARCHITECTURE/TAG, open_clip:ARCHITECTURE@FILE, "
    "hf-hub:ID, transformers:ID"
)
# what the name of a library's model begins with -> what loads it
_LIBRARIES = {
    "open_clip": load_open_clip,
    "hf-hub": load_open_clip,
    "transformers": load_transformers,
}

# oneDNN keeps a compiled product of every shape it has met, 1,024 of them unless told otherwise:
# captions come in so many shapes that bf16 would hold gigabytes of those.
_COMPILED_PRODUCTS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


class Backbone:
    """CLIP's two towers, frozen: eval mode, no gradients, features in fp32 and L2-normalised.

    Attributes:
        name: a published model's, or the weight file's without its suffix.
        weights_hash: SHA-256 of the weights, whatever file they came in.
        embed_dim: width ``D`` of the joint space.
        image_size: height and width of CLIP's own training images.
        preprocessing: how those were prepared, so how images are unless somebody says otherwise.
        cell: height and width in pixels of what a local image feature is of.
        logit_scale: CLIP's own, 100 for OpenAI's weights.
        text: the text tower, for prompts; ``device`` and ``dtype`` are both towers'.
    """

    def __init__(
        self,
        model: Towers | nn.Module,
        *,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        preprocessing: Preprocessing | None = None,
        dense: str | None = None,
    ) -> None:
        """
        Args:
            model: the towers, which are taken over; or a ``clip.model.CLIP`` with fp32 weights,
                which is copied.
            dtype: what the towers compute in; sums inside normalisation layers are in fp32.
            dense: see the attribute ``dense``; None is the tower's best.
            preprocessing: OpenAI's, at the size that the weights' shapes tell, where left out.
        """
        if dtype not in PRECISIONS.values():
            names = ", ".join(map(str, PRECISIONS.values()))
            raise InputError(f"CLIP runs in {names}, not in {dtype}")
        os.environ.setdefault(*_COMPILED_PRODUCTS)  # read when the first product is computed
        towers = model if isinstance(model, Towers) else towers_of(model)
        self.name = name
        self.weights_hash = towers.weights_hash
        self.logit_scale = towers.logit_scale
        self.tokenizer = towers.tokenizer
        self.library = towers.library
        self.device = choose_device(device)
        self.dtype = dtype
        self.text = towers.text.to(self.device, dtype).requires_grad_(False).eval()
        self.image = towers.image.to(self.device, dtype).requires_grad_(False).eval()
        self.embed_dim: int = self.text.embed_dim
        if self.image.embed_dim != self.embed_dim:
            raise InputError(
                f"{name}: features of texts are {self.embed_dim} wide and those of images "
                f"{self.image.embed_dim}: expected one width, so that they can be compared"
            )
        self.image_size: int = self.image.image_size
        self.cell: int = self.image.cell
        self.preprocessing = preprocessing or towers.preprocessing
        if dense is not None:
            self.dense = dense

    @property
    def dense(self) -> str | None:
        """How local image features come about, one of ``image.dense_options``; None where there
        is but one way (ResNets). May be set at any time: prompts do not depend on it."""
        return self.image.dense

    @dense.setter
    def dense(self, name: str) -> None:
        options = self.image.dense_options
        if not options:
            raise InputError(
                f"the local features of {self.name} come about in one way only, so it takes no "
                f"dense option '{name}' (MODEL.BACKBONE.DENSE): leave it out"
            )
        if name not in options:
            raise unknown("dense option (MODEL.BACKBONE.DENSE)", name, options)
        self.image.dense = name

    def __repr__(self) -> str:
        return (
            f"Backbone({self.name!r}, embed_dim={self.embed_dim}, image_size={self.image_size}, "
            f"device={str(self.device)!r}, dtype={self.dtype})"
        )

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids ``[SOS … EOS]`` of each text, at its own length.

        A text longer than the context (77) loses its end but keeps EOS; what is written like a
        special token is plain text.
        """
        texts = [texts] if isinstance(texts, str) else texts
        return self.tokenizer.ids(texts)

    def words(self, token_ids: Sequence[int]) -> tuple[list[str], list[tuple[int, int]]]:
        """Words of a text's token ids, and the half-open span of tokens each is made of.

        Args:
            token_ids: a text's, without SOS and EOS.
        """
        return self.tokenizer.words(token_ids)

    def encode_texts(self, token_ids: Sequence[Sequence[int]]) -> Features:
        """Features of tokenised texts: ``global_`` at EOS, ``local`` from SOS to EOS."""
        return self.text.encode(token_ids)

    def need_places(self, what: str) -> None:
        """Raise InputError unless local image features are of places; ``what`` needs them."""
        if not self.image.has_places:
            raise InputError(
                f"{what} features of places in an image, and {self.name} has none (its image tower "
                "gives one feature for all of it): take another backbone ('tai-dpt backbones' says "
                "what each can)"
            )

    def need_words(self, what: str) -> None:
        """Raise InputError unless every word of a text has a feature; ``what`` needs them."""
        if not self.text.every_token:
            raise InputError(
                f"{what} a feature of every word of a caption, and {self.name} has none (its text "
                "tower is not CLIP's causal one): take another backbone ('tai-dpt backbones' says "
                "what each can)"
            )

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError for a size of images that the image tower cannot take."""
        self.image.check_size(height, width)

    @torch.no_grad()
    def encode_images(self, images: Tensor, *, position_embedding: bool) -> Features:
        """Features of normalised images (B, 3, H, W), on the backbone's device.

        Args:
            position_embedding: whether a ResNet's attention pool uses its own; zero-shot CLIP
                does, TaI-DPT and DualCoOp do not. Without meaning for vision transformers.

        Raises:
            InputError: the images have another shape, or sides that the model cannot take.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"images must be (B, 3, H, W), not {tuple(images.shape)}")
        self.check_size(*images.shape[2:])
        images = images.to(self.device, self.dtype)
        global_, local = self.image(images, position_embedding=position_embedding)
        return Features(
            global_=F.normalize(global_.float(), dim=-1),
            local=F.normalize(local.float(), dim=-1),
            mask=torch.ones(local.shape[:2], dtype=torch.bool, device=self.device),
        )


def has_name(given: str | os.PathLike[str]) -> bool:
    """Whether what was asked for is a model by its name, which anybody can ask for, and no file."""
    return str(given) in NAMES or str(given).partition(":")[0] in _LIBRARIES


def backbone_names() -> list[str]:
    """The published models that can be asked for by name."""
    return list(NAMES)


def load_backbone(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    download_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    dense: str | None = None,
) -> Backbone:
    """A frozen CLIP by a published name (downloaded once) or from a local weight file.

    Args:
        name_or_path: one of :func:`backbone_names`; or the path of a TorchScript archive, a
            saved state dict or a safetensors file (see :func:`weights.read_state_dict`); or
            ``open_clip:ARCHITECTURE/TAG``, ``open_clip:ARCHITECTURE@FILE``, ``hf-hub:ID`` or
            ``hf-hub:FOLDER`` (models of open_clip); or ``transformers:ID``,
            ``transformers:FOLDER``.
        dtype: what the towers compute in; the features are fp32 all the same.
        download_dir: where published files are kept; default ``$TAI_DPT_CACHE/clip``,
            else ``~/.cache/clip``.
        sha256: what the file's SHA-256 must be. Published files are always checked.
        dense: how local image features come about, see ``Backbone.dense``.

    Raises:
        InputError: the name is unknown, the file is missing, broken, not the expected one or no
            CLIP, or the download failed.
    """
    given = os.fspath(name_or_path)
    towers, name = _towers(given, download_dir=download_dir, sha256=sha256)
    return Backbone(towers, name=name, device=device, dtype=dtype, dense=dense)


def _towers(
    given: str, *, download_dir: str | os.PathLike[str] | None, sha256: str | None
) -> tuple[Towers, str]:
    """The towers, and what the backbone is called."""
    library = _LIBRARIES.get(given.partition(":")[0])
    if library is not None:
        if sha256 is not None:
            raise InputError(f"sha256 is of one weight file; '{given}' is a model of a library")
        return library(given), given
    if given in NAMES:
        path = download(given, folder=None if download_dir is None else Path(download_dir))
        name = given
    else:
        path = expanded(given)
        name = SHIPPED if given == backbone_file(SHIPPED) else path.stem
        if not given or (not path.exists() and not _looks_like_path(given)):
            raise InputError(f"{unknown('backbone', given, NAMES)}, {_ELSEWHERE}")
        _check_door(path)
    model = build_clip(read_state_dict(path, sha256=sha256), source=str(path))
    return towers_of(model, owned=True), name


def _check_door(path: Path) -> None:
    """Raise InputError for a library's folder or weights: those alone do not say how a model is
    built (activation, heads) or how images are prepared, and open_clip's look like OpenAI's."""
    if path.is_dir() and (way := hint(path)):
        raise InputError(f"'{path}' is a folder{way}")
    if path.name.startswith("open_clip_") and (path.parent / CONFIG_FILES["hf-hub"]).is_file():
        raise InputError(
            f"'{path}' does not say how its model is built, as {CONFIG_FILES['hf-hub']} beside it "
            f"does{hint(path.parent)}"
        )


def _looks_like_path(given: str) -> bool:
    """Whether somebody who wrote this meant a file. "ViT-B/8" is a name: no suffix, no dot."""
    path = Path(given)
    return path.is_absolute() or given.startswith((".", "~")) or bool(path.suffix)
