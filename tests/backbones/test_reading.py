"""What of a caption a library's tokenizer reads, and hence what its labels are read off."""

from __future__ import annotations

import pytest

from tai_dpt.backbones import load_backbone
from tai_dpt.backbones.tokenizers import CLIPS_OWN, ClipTokenizer
from tai_dpt.datasets.corpora import label_corpus, load_corpus
from tai_dpt.labels import NounFilter
from tai_dpt.labels.vocabulary import Vocabulary

import library_models

pytest.importorskip("open_clip")
pytest.importorskip("transformers")


def saved(folder, kind):
    if kind in library_models.OPEN_CLIP:
        return f"hf-hub:{library_models.save_open_clip(folder, kind)}"
    library_models.save_transformers(folder, kind)
    return f"transformers:{folder}"


@pytest.fixture(scope="module", params=["siglip", "clip_gelu", "multilingual", "bidirectional"])
def tokenizer(request, tmp_path_factory):
    """Unigrams and byte pairs, with and without SOS, of both libraries, of 24 tokens or fewer."""
    return load_backbone(saved(tmp_path_factory.mktemp("m"), request.param)).tokenizer


@pytest.mark.parametrize(
    "text", ["a dog on a street. " * 9, "Zwei Hunde, ein Auto! " * 9, "traffic-lights " * 20]
)
def test_the_part_that_is_read_is_the_longest_whose_tokens_are(tokenizer, text):
    part = tokenizer.encoded_part(text)
    (whole,), (read,) = tokenizer.ids([text]), tokenizer.ids([part])
    assert len(whole) == tokenizer.context_length < 30
    assert text.startswith(part) and 0 < len(part) < len(text)
    assert read[:-1] == whole[: len(read) - 1]  # but for EOS
    assert tokenizer.encoded_part(part) == part
    assert tokenizer.encoded_part("a dog") == "a dog"
    longer = text[: len(part) + len(text[len(part) :].split()[0]) + 2]
    assert tokenizer.encoded_part(longer) == part


def test_a_word_that_is_read_in_part_is_not_read(tokenizer):
    assert tokenizer.encoded_part("x" * 500) == ""


def test_labels_are_of_the_tokens_that_are_read(tokenizer, tmp_path):
    caption = "a dog near a street and a wall and a house and one more wall and a tree, a red car"
    noun_filter = NounFilter(vocabulary=Vocabulary.from_names(["dog", "car"]))
    assert label_corpus([caption, "car"], noun_filter).labels.toarray().tolist() == [[1, 1], [0, 1]]
    own = label_corpus([caption, "car"], noun_filter, tokenizer=tokenizer)
    assert own.labels.toarray().tolist() == [[1, 0], [0, 1]]
    file, cache = tmp_path / "captions.txt", tmp_path / "cache"
    file.write_text(f"{caption}\ncar\n")
    for reader, expected in ((CLIPS_OWN, 2), (tokenizer, 1), (ClipTokenizer(16), 1)):
        for _ in range(2):  # from the file, from the cache
            corpus = load_corpus([file], noun_filter, tokenizer=reader, cache_folder=cache)
            assert corpus.labels.sum(axis=1).tolist() == [expected, 1]
    assert len(list((cache / "corpora").glob("*.npz"))) == 3


def test_a_class_that_no_caption_reaches_is_told_with_the_right_token(tokenizer):
    noun_filter = NounFilter(vocabulary=Vocabulary.from_names(["dog", "car"]))
    with pytest.warns(UserWarning, match=f"before the {tokenizer.context_length}th token"):
        label_corpus(["dog"], noun_filter, tokenizer=tokenizer)


def test_a_tokenizer_that_reduces_long_texts_in_its_own_way_is_not_taken_for_clips(tmp_path):
    """open_clip's CLIPA keeps nouns of a long text: equal to CLIP's on short ones alone."""
    folder = library_models.save_open_clip(
        tmp_path, "vit_gelu", text_cfg={"tokenizer_kwargs": {"reduction_mask": "shuffle"}}
    )
    assert load_backbone(f"hf-hub:{folder}").tokenizer.identity.startswith("SimpleTokenizer")
