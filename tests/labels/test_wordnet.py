"""WordNet as NLTK keeps it: a folder, or the archive that its downloader leaves packed."""

from __future__ import annotations

import shutil

import nltk
import pytest
from nltk.corpus.reader import WordNetCorpusReader
from nltk.corpus.util import LazyCorpusLoader

from tai_dpt.labels.lexicon import Lexicon, lemma_names
from tai_dpt.labels.wordnet import noun_lemmatizer

HEAD = "  1 WordNet 3.0 Copyright 2006 by nobody: a WordNet of one dog\n"
NOUN = "05 n 02 dog 0 domestic_dog 0 000 | a tame animal\n"


def write_wordnet(folder):
    """The files of a WordNet that knows one noun; entries are found by their place in the file."""
    folder.mkdir(parents=True)
    for part in ("noun", "verb", "adj", "adv"):
        (folder / f"data.{part}").write_text(HEAD)
        (folder / f"index.{part}").write_text(HEAD)
        (folder / f"{part}.exc").write_text("")
    offset = f"{len(HEAD):08}"
    (folder / "data.noun").write_text(f"{HEAD}{offset} {NOUN}")
    lemmas = ("dog", "domestic_dog")
    (folder / "index.noun").write_text(HEAD + "".join(f"{x} n 1 0 1 1 {offset}\n" for x in lemmas))
    (folder / "noun.exc").write_text("doggen dog\n")
    (folder / "index.sense").write_text("".join(f"{x}%1:05:00:: {offset} 1 42\n" for x in lemmas))
    kinds = ["adj.all 3", "adj.pert 3", "adv.all 4", "noun.Tops 1", "noun.act 1", "noun.animal 1"]
    (folder / "lexnames").write_text("".join(f"{i:02} {kind}\n" for i, kind in enumerate(kinds)))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_wordnet_is_read_as_a_folder_and_as_nltk_packs_it(tmp_path, monkeypatch, packed):
    corpora = tmp_path / "corpora"
    write_wordnet(corpora / "wordnet")
    if packed:  # corpora/wordnet.zip with a folder wordnet in it
        shutil.make_archive(str(corpora / "wordnet"), "zip", corpora, "wordnet")
        shutil.rmtree(corpora / "wordnet")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    unread = LazyCorpusLoader("wordnet", WordNetCorpusReader, None)
    monkeypatch.setattr(nltk.corpus, "wordnet", unread)
    lemma = noun_lemmatizer()
    assert [lemma(word) for word in ("dogs", "doggen", "cats")] == ["dog", "dog", "cats"]
    lexicon = Lexicon()
    assert [sense.count for sense in lexicon.senses("domestic dog", "n")] == [42]
    assert lemma_names(lexicon.synset("dog.n.01")) == ["dog", "domestic dog"]
