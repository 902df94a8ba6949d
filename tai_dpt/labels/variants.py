"""Words of English that are written in several ways: grey and gray, Saint and St, two and 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, product

from tai_dpt.labels.lemmas import singular

_MOST = 16  # ways to write one phrase

# British and American, and other doublets, where the other spelling is no word of another meaning
_WORDS = """
grey gray, tyre tire, colour color, pyjamas pajamas, pyjama pajama, moustache mustache,
doughnut donut, yoghurt yogurt, jewellery jewelry, aluminium aluminum, plough plow, fibre fiber,
theatre theater, centre center, metre meter, litre liter, sabre saber, sceptre scepter, axe ax,
armour armor, harbour harbor, neighbour neighbor, parlour parlor, mould mold, sulphur sulfur,
whisky whiskey, omelette omelet, lasagne lasagna, ketchup catsup, chilli chili, racquet racket,
barbecue barbeque bbq, catalogue catalog, kerb curb, disc disk, woollen woolen, traveller traveler,
archaeologist archeologist, paediatrician pediatrician, tshirt teeshirt, okay ok,
aeroplane airplane, licence license, defence defense, offence offense, cosy cozy, dialogue dialog,
analogue analog, programme program, carburettor carburetor, artefact artifact, waggon wagon,
gaol jail, manoeuvre maneuver, haemorrhage hemorrhage, oesophagus esophagus, foetus fetus,
paediatric pediatric, gynaecologist gynecologist, orthopaedic orthopedic, anaesthetic anesthetic,
haemoglobin hemoglobin, encyclopaedia encyclopedia, leukaemia leukemia, oestrogen estrogen,
coloured colored, armoured armored, favourite favorite, savoury savory, vapour vapor, odour odor,
honour honor, labour labor, rumour rumor, rigour rigor, clamour clamor, glamour glamor,
centrepiece centerpiece, spectre specter, lustre luster, calibre caliber, ochre ocher,
goitre goiter, snowplough snowplow, woolly wooly, chequered checkered, enamelled enameled,
jeweller jeweler, panelled paneled, modelling modeling, councillor councilor,
marvellous marvelous, sulphate sulfate, phoney phony, pedlar peddler, gipsy gypsy, caviare caviar,
hiccough hiccup, dyke dike
"""
# the same only beside other words: "st bernard"
_BESIDE_OTHERS = """
saint st, mount mt, doctor dr, mister mr, junior jr, senior sr, t tee, and n, one 1, two 2, three 3,
four 4, five 5, six 6, seven 7, eight 8, nine 9, ten 10, eleven 11, twelve 12, fourteen 14,
fifteen 15, sixteen 16, eighteen 18, twenty 20, fifty 50
"""


def _groups(table: str) -> dict[str, tuple[str, ...]]:
    groups = [tuple(group.split()) for group in table.split(",")]
    return {word: group for group in groups for word in group}


_ALONE = _groups(_WORDS)
_IN_PHRASES = {**_ALONE, **_groups(_BESIDE_OTHERS)}


def written_alike(phrase: Sequence[str]) -> Iterator[list[str]]:
    """Every way to write a phrase of lower-case words that differs in such words, itself first.

    >>> list(written_alike(["saint", "bernard"]))
    [['saint', 'bernard'], ['st', 'bernard']]
    >>> list(written_alike(["tyres"]))
    [['tyres'], ['tire']]
    """
    known = _IN_PHRASES if len(phrase) > 1 else _ALONE
    ways = []
    for word in phrase:
        one = word if word in known else singular(word)
        ways.append([word, *(other for other in known.get(one, ()) if other != one)])
    return map(list, islice(product(*ways), _MOST))


def one_way(phrase: Sequence[str]) -> list[str]:
    """A phrase with each such word in the same one of its spellings.

    >>> one_way(["2", "gray", "wolves"]), one_way(["two", "grey", "wolves"])
    (['two', 'grey', 'wolves'], ['two', 'grey', 'wolves'])
    """
    known = _IN_PHRASES if len(phrase) > 1 else _ALONE
    return [known.get(word, known.get(singular(word), (word,)))[0] for word in phrase]
