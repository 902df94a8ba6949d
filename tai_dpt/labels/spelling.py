"""One spelling for class names, synonyms, captions and label files: that of ``normalise``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, product

from tai_dpt.labels.lemmas import singular, word_set
from tai_dpt.labels.variants import one_way, written_alike

_APOSTROPHES = "\u2019\u2018\u201b\u02bc\u2032\u00b4\uff07`"
_HYPHENS = "\u2010\u2011\u2012\u2013\u2043\u2212\ufe58\ufe63\uff0d"
# soft hyphen, zero-width characters, directions of writing, variants of a glyph, and the marks for
# vowels that Hebrew and Arabic write in schoolbooks alone
_INVISIBLE = "\u00ad\u061c\u180e\ufeff\u0640\u0670\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7" + "".join(
    chr(code)
    for first, last in (
        (0x200B, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xFE00, 0xFE0F),
        (0x0591, 0x05BD),
        (0x064B, 0x0652),
    )
    for code in range(first, last + 1)
)
_NO_MARKS = str.maketrans(  # letters that Unicode does not take apart
    {
        **{"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h"},
        **{"Æ": "Ae", "Œ": "Oe", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "Th", "Ħ": "H"},
    }
)
_SAME = str.maketrans(
    {
        **dict.fromkeys(_APOSTROPHES, "'"),
        **dict.fromkeys(_HYPHENS, "-"),
        **dict.fromkeys(_INVISIBLE, None),
        "\u0131": "i",  # Turkish, whose capital is the I of all others
        "\u00d7": "x",  # 4×4
        "\u2044": "/",  # what Unicode makes of ½
    }
)
_LETTER = r"[^\W\d_]"
_ABBREVIATION = re.compile(  # u.s., p.m., u. s.
    rf"(?<!\w){_LETTER}(?:(?:\.{_LETTER})+(?!\w)\.?|(?:\.\s{_LETTER}(?=\.))+\.)"
)
_AND = re.compile(r"\s*'n'\s*|\s+'n\s+")  # salt 'n' pepper, rock'n'roll
_TITLE = re.compile(r"(?<!\w)(st|dr|mr|mrs|ms|mt|jr|sr|ft)\.")
_INITIAL = re.compile(rf"(?<!\w)({_LETTER})\.(?=\s+\w)")  # t. rex
_JOINED_BY_HYPHEN = re.compile(r"(?<=\w)\s*-+\s*(?=\w)")
_DOTTED_I = "i\u0307"  # what case folding makes of the Turkish capital
_GLOSS = re.compile(r"\s*[(\[{][^()\[\]{}]*[)\]}]\s*")
# one letter and a word, which people also write as one word
_LETTERED = re.compile(
    r"(t|tee)(shirt)|(t)(bone)|(x)(ray|box)|(e)(mail|book|bike|reader|scooter|cigarette)|(u)(turn|boat|bolt)"
    r"|(v)(neck)"
)
_LEAST_SPLIT = 7  # letters of a word that people may write as two: "key board"

# scripts without spaces between words: Han, kana, Thai, Lao, Myanmar, Khmer
_NO_BREAKS = (
    r"\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\uff66-\uff9f\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\U00020000-\U0003ffff"
)
#: a character of a script that is written without spaces between words
UNBROKEN = re.compile(f"[{_NO_BREAKS}]")
_UNBROKEN_SPACE = re.compile(rf"(?<=[{_NO_BREAKS}])\s+|\s+(?=[{_NO_BREAKS}])")
_HANGUL_LETTERS = r"\u1100-\u11ff\uac00-\ud7af"
_HANGUL = re.compile(f"[{_HANGUL_LETTERS}]")  # particles stick to the end of a word
_RUN = re.compile(rf"[{_HANGUL_LETTERS}]+|[^\s{_HANGUL_LETTERS}]+")


def plain(text: str) -> str:
    """Lower case, and one spelling of what people write in several ways.

    Unicode's composed form (a letter and its accent are one character, full-width letters are
    plain ones), one apostrophe, one hyphen, spaces for underscores, "and" for "&" and "'n'", no
    dots in abbreviations ("U.S." is "us"), after titles ("St. Bernard") and initials ("T. rex").

    >>> plain("The U.S. Pepper_Mill")
    'the us pepper mill'
    """
    if text.isascii():  # what follows is asked of every caption
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKC", text.translate(_SAME)).translate(_SAME)
        text = unicodedata.normalize("NFKC", text.casefold().replace(_DOTTED_I, "i"))
    if "_" in text:
        text = text.replace("_", " ")
    if "&" in text:
        text = text.replace("&", " and ")
    if "'n" in text:
        text = _AND.sub(" and ", text)
    if text.find(".", 0, -1) >= 0:
        text = _ABBREVIATION.sub(lambda match: re.sub(r"[.\s]", "", match[0]), text)
        text = _TITLE.sub(r"\1", text)
        text = _INITIAL.sub(r"\1", text)
    return text


def normalise(phrase: str) -> str:
    """The form in which names and synonyms are compared: ``plain``, and hyphens are spaces.

    >>> normalise("T-Shirt") == normalise("t_shirt") == normalise("t  shirt")
    True
    >>> normalise("Men\u2019s U.S. flag")
    "men's us flag"
    """
    text = plain(phrase)
    return " ".join(_JOINED_BY_HYPHEN.sub(" ", text).split()) or phrase.strip()


def bare(text: str) -> str:
    """Without accents, and without the letters that only some languages have.

    >>> bare("café"), bare("smørrebrød")
    ('cafe', 'smorrebrod')
    """
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFD", text.translate(_NO_MARKS))
    return unicodedata.normalize("NFC", "".join(c for c in parts if not unicodedata.combining(c)))


def loose(phrase: str) -> str:
    """A second form for names: no accents, spaces or apostrophes, the singular, one of the
    spellings that ``written_alike`` knows.

    >>> loose("Teddy Bears"), loose("teddy-bear")
    ('teddybear', 'teddybear')
    """
    *before, last = one_way(re.sub(r"['.]", "", bare(normalise(phrase))).split()) or [""]
    return "".join([*before, singular(last)])


class Names(Mapping[str, int]):
    """Class indices by name, however the name is written.

    A name is looked up as ``normalise`` gives it; failing that in its ``loose`` form, where only
    one class has that.
    """

    def __init__(self, names: Iterable[tuple[str, int]]) -> None:
        """``names``: (name, class index); of equal names the first counts."""
        self._index: dict[str, int] = {}
        self._loose: dict[str, int | None] = {}
        for name, index in names:
            self._index.setdefault(normalise(name), index)
        for name, index in self._index.items():
            form = loose(name)
            if self._loose.setdefault(form, index) != index:
                self._loose[form] = None

    def __getitem__(self, name: str) -> int:
        index = self._index.get(normalise(name))
        if index is None:
            index = self._loose.get(loose(name))
        if index is None:
            raise KeyError(name)
        return index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def readings(name: str) -> tuple[str, ...]:
    """What else captions may say for a name: without its gloss, and either side of a slash.

    >>> readings("kite (bird of prey)"), readings("Monitor/TV"), readings("dog")
    (('kite',), ('Monitor', 'TV'), ())
    """
    said, glosses = unicodedata.normalize("NFKC", name.replace("_", " ")), 1
    while glosses:  # the innermost first: a gloss may have one of its own
        said, glosses = _GLOSS.subn(" ", said)
    said = " ".join(said.split())
    parts = [part.strip() for part in said.split("/")]
    if len(parts) == 1 or not all(map(_names_something, parts)):
        parts = [said]
    return tuple(part for part in parts if part and normalise(part) != normalise(name))


def _names_something(part: str) -> bool:
    """Whether it is more than a letter or a number: the "A" of "A/B" would be in every caption."""
    letters = sum(c.isalpha() for c in part)
    return letters > 1 or (letters == 1 and bool(UNBROKEN.search(part)))


def english_letters(text: str) -> bool:
    """Whether its letters are Latin ones.

    >>> english_letters("café 2"), english_letters("собака")
    (True, False)
    """
    return all("LATIN" in unicodedata.name(c, "") for c in text if c.isalpha())


class WithinText:
    """Finds phrases of scripts that part no words inside a text, the longest first.

    Spaces beside a character of such a script do not count. Korean, which parts words and sticks
    particles to their ends, is found at a word's beginning; a compound may be parted in captions
    or in its name.

    >>> WithinText({"犬": (0,), "子犬": (1,)}).classes("白い子犬")
    {1}
    """

    def __init__(self, classes_of: Mapping[str, tuple[int, ...]]) -> None:
        self._classes_of: dict[str, tuple[int, ...]] = {}
        alternatives = []
        for phrase in sorted(classes_of, key=lambda phrase: (-len(phrase), phrase)):
            text = _UNBROKEN_SPACE.sub("", plain(phrase))
            self._classes_of.setdefault("".join(text.split()), classes_of[phrase])
            if _HANGUL.search(text):
                parts = map(re.escape, _RUN.findall(text))
                alternatives.append(r"(?<!\w)" + r"\s?".join(parts))
            else:
                alternatives.append(re.escape(text))
        self._pattern = re.compile("|".join(alternatives)) if alternatives else None

    def classes(self, text: str) -> set[int]:
        """The classes whose phrases a text, as ``plain`` gives it, has."""
        found: set[int] = set()
        if self._pattern is not None and not text.isascii():
            for match in self._pattern.finditer(_UNBROKEN_SPACE.sub("", text)):
                found.update(self._classes_of["".join(match[0].split())])
        return found


def found_within(phrase: str) -> bool:
    """Whether a phrase is to be looked for inside words.

    >>> found_within("犬"), found_within("dog")
    (True, False)
    """
    return bool(UNBROKEN.search(phrase) or _HANGUL.search(phrase))


_OF_MANY = re.compile(r"(?<=[^\W\d_])s'(?!\w)")  # farmers' market
_MOST_ACCENTED = 16  # ways to leave accents out
_SPELT_OUT = re.compile(r"us|uk|usa|[b-df-hj-np-tv-xz]{2,4}")
_DIGITS_APART = re.compile(r"\d+|[^\d]+")
_NO_PARTS = word_set(
    "the and but for with from into onto over under that this his her its their our your was were "
    "are has had have not out off all any one two she they them you who per some each"
)


def spellings(phrase: str, *, apart: bool) -> Iterator[list[str]]:
    """The other ways in which people write a phrase, as lists of words; see ``words``.

    Joined ("tshirt", "hotair balloon"), without apostrophe ("mens shoes"), without accents,
    without the dots that ``plain`` leaves ("approx. value", "phd gown"), digits apart from letters
    ("3 D"), and each of these with other spellings of its words ("tee shirt", "gray wolf").

    Args:
        apart: also a word of seven letters and more as two words ("key board").

    >>> list(spellings("hot dog", apart=False))
    [['hotdog']]
    >>> list(spellings("Saint Bernard", apart=False))
    [['st', 'bernard'], ['stbernard'], ['saintbernard']]
    """
    for number, spelling in enumerate((words(phrase), *_otherwise(phrase, apart=apart))):
        for way, written in enumerate(written_alike(spelling)):
            if number or way:
                yield written
            if way and len(written) > 1:
                yield ["".join(written)]


def _otherwise(phrase: str, *, apart: bool) -> Iterator[list[str]]:
    parts = words(phrase)
    text = plain(phrase)
    if "-" in text:
        yield words(re.sub(r"(?<=\w)\s*-\s*(?=\w)", "", text))
    if "'" in text:
        yield words(text.replace("'", ""))
        if (one := _OF_MANY.sub("'s", text)) != text:
            yield words(one)
    if not text.isascii():
        ways = [dict.fromkeys((word, bare(word))) for word in parts]
        yield from map(list, islice(product(*ways), 1, _MOST_ACCENTED))
    if "." in parts:
        yield [part for part in parts if part != "."]
        yield words(text.replace(".", ""))
    if any(character.isdigit() for character in text):
        yield [piece for part in parts for piece in _DIGITS_APART.findall(part)]
    if (initials := _initials(parts)) != parts:
        yield initials
    if len(parts) > 1:
        yield ["".join(parts)]
    elif apart and parts[0].isalpha():
        yield from _split(parts[0])


def _initials(parts: list[str]) -> list[str]:
    """Letters that stand alone as a word ("u s flag"), or short words without vowels and "us" as
    letters ("t v")."""
    joined = re.sub(r"(?<!\S)(\w) (?=\w(?!\S))", r"\1", " ".join(parts)).split()
    if joined != parts:
        return joined
    return [c for part in parts for c in (part if _SPELT_OUT.fullmatch(part) else [part])]


def _split(word: str) -> Iterator[list[str]]:
    lettered = _LETTERED.fullmatch(singular(word))
    if lettered:
        yield [part for part in lettered.groups() if part]
    if len(word) >= _LEAST_SPLIT:
        for at in range(3, len(word) - 2):
            if _NO_PARTS.isdisjoint((word[:at], word[at:])):
                yield [word[:at], word[at:]]


_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and marks of a phrase; hyphens only part words.

    >>> words("A T-shirt!")
    ['a', 't', 'shirt', '!']
    """
    found = _WORD.findall(plain(text))
    return [word for word in found if word != "-"] or found
