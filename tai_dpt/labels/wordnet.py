"""The only door to NLTK: imported when asked for, its data checked when opened."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from tai_dpt.errors import InputError


def _nltk() -> ModuleType:
    try:
        import nltk
    except ImportError:
        raise InputError("NLTK is not installed: pip install nltk") from None
    module: ModuleType = nltk
    return module


#: all that is read of NLTK's data
RESOURCES = ("punkt_tab", "averaged_perceptron_tagger_eng", "wordnet")


def _needs(use: Callable[[], Any], resource: str, purpose: str) -> Any:
    try:
        return use()
    except LookupError:
        raise InputError(
            f"{purpose} needs NLTK's data '{resource}', which is not there: python -m "
            f"nltk.downloader {' '.join(RESOURCES)} fetches all that is needed; or point NLTK_DATA "
            "to a folder that has it"
        ) from None


def wordnet() -> Any:
    """NLTK's WordNet corpus reader, loaded.

    >>> wordnet().synset("dog.n.01").lemma_names()[0]
    'dog'
    """
    _nltk()
    from nltk.corpus import wordnet as corpus

    _needs(lambda: corpus.ensure_loaded(), "wordnet", "WordNet")
    return corpus


def has_wordnet() -> bool:
    """Whether NLTK and its WordNet are installed.

    >>> has_wordnet()
    True
    """
    try:
        wordnet()
    except InputError:
        return False
    return True


def noun_lemmatizer() -> Callable[[str], str]:
    """NLTK's WordNet lemmatiser for nouns, word by word.

    >>> noun_lemmatizer()("geese")
    'goose'
    """
    lemmatize = pos_lemmatizer()
    return lambda word: lemmatize(word, "n")


def pos_lemmatizer() -> Callable[[str, str], str]:
    """NLTK's WordNet lemmatiser: ``(word, "n" | "v" | "a" | "r") -> lemma``.

    >>> pos_lemmatizer()("running", "v")
    'run'
    """
    wordnet()
    from nltk.stem import WordNetLemmatizer

    lemmatizer = WordNetLemmatizer()
    return lambda word, pos: lemmatizer.lemmatize(word, pos=pos)


def tokenizer() -> Callable[[str], list[str]]:
    """NLTK's ``word_tokenize``.

    >>> tokenizer()("A dog's here.")
    ['A', 'dog', "'s", 'here', '.']
    """
    tokenize: Callable[[str], list[str]] = _nltk().word_tokenize
    _needs(lambda: tokenize("a b"), "punkt_tab", "the tokenizer")
    return tokenize


def tagger() -> Callable[[list[str]], list[tuple[str, str]]]:
    """NLTK's ``pos_tag``: tokens in, (token, Penn Treebank tag) out.

    >>> tagger()(["a", "dog"])
    [('a', 'DT'), ('dog', 'NN')]
    """
    tag: Callable[[list[str]], list[tuple[str, str]]] = _nltk().pos_tag
    _needs(lambda: tag(["a"]), "averaged_perceptron_tagger_eng", "the tagger")
    return tag
