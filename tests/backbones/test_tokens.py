"""What of a text CLIP encodes, and texts that are written like special tokens."""

import pytest

from tai_dpt.backbones.clip_package import tokenizer
from tai_dpt.backbones.tokenizers import CLIPS_OWN
from tai_dpt.backbones.tokens import token_ids


def ids(text, context_length=77):
    return token_ids([text], context_length=context_length)[0]


@pytest.mark.parametrize(
    "text",
    [
        "a dog <|endoftext|> and a car",
        "<|startoftext|> a cat",
        "a <|EndOfText|> dog",
        "a &lt;|endoftext|&gt; dog",
        "<|endoftext|> &amp;amp;lt;|endoftext|&amp;amp;gt;",
        "a<|endoftext|>b",
    ],
)
def test_special_tokens_in_a_text_are_plain_text(text):
    encoder = tokenizer().encoder
    special = {encoder["<|startoftext|>"], encoder["<|endoftext|>"]}
    assert special.isdisjoint(ids(text)[1:-1])
    assert "endoftext" in tokenizer().decode(ids(text)).replace(" ", "") or "start" in text


def test_other_texts_are_cut_as_before():
    text = "A dog's house, 12 &amp; more; caf\u00e9"
    assert ids(text)[1:-1] == tokenizer().encode(text)
    assert len(ids("dog " * 100)) == 77


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("word " * 74 + "dog zebra", "word " * 74 + "dog"),
        ("word " * 75 + "zebra", "word " * 75),
        ("word " * 74 + "dogsledding", "word " * 74),  # of two tokens, one is encoded
        ("word " * 74 + "dog.", "word " * 74 + "dog"),
        ("caf\u00e9 " * 75 + "zebra", "caf\u00e9 " * 75),
        ("a.b " * 26, "a.b " * 25),
        ("short &amp; sweet", "short &amp; sweet"),
    ],
)
def test_encoded_part(text, kept):
    assert CLIPS_OWN.encoded_part(text) == kept.rstrip()
    assert ids(CLIPS_OWN.encoded_part(text))[1:-1] == ids(text)[1:-1][: len(ids(kept)) - 2]


def test_what_is_encoded_is_all_of_it():
    text = "two people &amp; a dog stand beside the <|endoftext|> sign , " * 9
    part = CLIPS_OWN.encoded_part(text)
    assert len(ids(part)) <= 77
    assert len(ids(part + " x")) == len(ids(part)) + 1 or len(ids(part)) == 77
    assert CLIPS_OWN.encoded_part(part) == part
