"""The class vocabularies that ship, and the template texts of a vocabulary."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from tai_dpt.errors import InputError, unknown
from tai_dpt.labels.vocabulary import Vocabulary

_FOLDER = Path(__file__).parent / "vocabularies"

#: the vocabularies that ship, in this folder as YAML
VOCABULARIES = ("voc2007", "coco2014", "nuswide")

PROMPT_TEMPLATE = "a photo of a {}."
PROMPT_TEMPLATE_COPIES = 9


def load_vocabulary(name_or_path: str | os.PathLike[str], *, names: str = "paper") -> Vocabulary:
    """A vocabulary that ships, by name, or a user's class list, by path.

    Args:
        name_or_path: one of ``VOCABULARIES``, or a file that ``Vocabulary.from_file`` reads.
        names: "paper" for the class names of the paper's prompts ("pottedplant"), "readable" for
            plain English ("potted plant").

    Raises:
        InputError: neither a known name nor a file, or a file that is not a class list.

    >>> load_vocabulary("voc2007", names="readable").names[-3:]
    ('sofa', 'train', 'tv monitor')
    """
    return Vocabulary.from_file(vocabulary_file(name_or_path), names=names)


def vocabulary_file(name_or_path: str | os.PathLike[str]) -> Path:
    """The file of a vocabulary that ships, or of a user's class list.

    Raises:
        InputError: neither a known name nor a file.

    >>> vocabulary_file("coco2014").name
    'coco2014.yaml'
    """
    if name_or_path in VOCABULARIES:
        return _FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise InputError(
            f"no such class list: {path}; give a file or one of {', '.join(VOCABULARIES)}"
        )
    raise unknown("vocabulary", name_or_path, VOCABULARIES)


def imagenet_templates() -> tuple[str, ...]:
    """The 80 prompt templates for ImageNet published with CLIP.

    >>> len(imagenet_templates())
    80
    """
    text = (_FOLDER / "imagenet_templates.yaml").read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text))


def template_texts(vocabulary: Vocabulary) -> tuple[list[str], list[int]]:
    """The template texts that join the captions in training, and the class of each.

    Per class "a photo of a {}." nine times, then the 80 ImageNet templates, as in the public
    code: 89 texts a class, in the order of the classes.

    >>> texts, classes = template_texts(load_vocabulary("voc2007"))
    >>> len(texts), texts[0], classes[-1]
    (1780, 'a photo of a aeroplane.', 19)
    """
    templates = (PROMPT_TEMPLATE,) * PROMPT_TEMPLATE_COPIES + imagenet_templates()
    texts = [template.format(name) for name in vocabulary.names for template in templates]
    labels = [index for index in range(len(vocabulary)) for _ in templates]
    return texts, labels
