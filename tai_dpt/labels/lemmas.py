"""The built-in lemmatiser: singular forms of English nouns, nothing to download."""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set.

    >>> word_set("a dog  a cat") == {"a", "cat", "dog"}
    True
    """
    return frozenset(text.split())


def _pairs(table: str) -> dict[str, str]:
    """``"plural singular, plural singular, …"`` as a dictionary."""
    return dict(pair.split() for pair in table.replace("\n", " ").split(",") if pair.strip())


# plural -> singular where the rules of `singular` lead elsewhere
IRREGULAR = _pairs(
    """
    men man, women woman, people person, children child, oxen ox, feet foot, teeth tooth,
    geese goose, mice mouse, lice louse, dice die, cacti cactus, fungi fungus, octopi octopus,
    alumni alumnus, hippopotami hippopotamus, criteria criterion, phenomena phenomenon,
    knives knife, wives wife, lives life, leaves leaf, loaves loaf, halves half, calves calf,
    wolves wolf, shelves shelf, elves elf, selves self, thieves thief, hooves hoof,
    scarves scarf, wharves wharf, dwarves dwarf,
    axes axe, indices index, vertices vertex, matrices matrix, oases oasis, crises crisis,
    buses bus, busses bus, minibuses minibus, omnibuses omnibus, autobuses autobus, gases gas,
    lenses lens, irises iris, viruses virus, campuses campus, cactuses cactus, circuses circus,
    walruses walrus, octopuses octopus, crocuses crocus, choruses chorus, statuses status,
    hippopotamuses hippopotamus, rhinoceroses rhinoceros, platypuses platypus, atlases atlas,
    trellises trellis, canvases canvas, quizzes quiz, tvs tv, cds cd, pcs pc,
    ties tie, neckties necktie, pies pie, potpies potpie, magpies magpie, lies lie, dies die,
    movies movie, cookies cookie, brownies brownie, smoothies smoothie, selfies selfie,
    zombies zombie, hoodies hoodie, veggies veggie, collies collie, calories calorie,
    prairies prairie, rookies rookie, hippies hippie, foodies foodie, bowties bowtie,
    aeries aerie, genies genie, pixies pixie, eeries eerie, series series, species species,
    shoes shoe, horseshoes horseshoe, snowshoes snowshoe, canoes canoe, toes toe, hoes hoe,
    oboes oboe, aches ache, headaches headache, caches cache, mustaches mustache,
    moustaches moustache, quiches quiche, niches niche, brioches brioche, avalanches avalanche,
    skis ski, waterskis waterski, jetskis jetski, taxis taxi, bikinis bikini, kiwis kiwi,
    zucchinis zucchini, paninis panini, martinis martini, safaris safari, jacuzzis jacuzzi,
    passersby passerby,
    rabbis rabbi, yetis yeti, okapis okapi, menus menu, emus emu, gnus gnu, tutus tutu,
    caribous caribou, fezzes fez, whizzes whiz, topazes topaz,
    radii radius, nuclei nucleus, stimuli stimulus, hibisci hibiscus, papyri papyrus, foci focus,
    eucalypti eucalyptus, octopodes octopus, gladioli gladiolus, syllabi syllabus,
    larvae larva, antennae antenna, algae alga, vertebrae vertebra, formulae formula,
    nebulae nebula, supernovae supernova, pupae pupa, amoebae amoeba,
    bacteria bacterium, stadia stadium, aquaria aquarium, terraria terrarium, gymnasia gymnasium,
    planetaria planetarium, auditoria auditorium, podia podium, ova ovum, automata automaton,
    ganglia ganglion, polyhedra polyhedron, mitochondria mitochondrion,
    theses thesis, analyses analysis, hypotheses hypothesis, parentheses parenthesis,
    prostheses prosthesis, metamorphoses metamorphosis, diagnoses diagnosis,
    appendices appendix, cortices cortex,
    chateaux chateau, gateaux gateau, bureaux bureau, plateaux plateau, tableaux tableau,
    trousseaux trousseau, chapeaux chapeau
    """
)

# words in -s that are singular, or are only ever plural
_UNCHANGED = word_set(
    """
    scissors shears pliers tweezers tongs pants trousers jeans shorts binoculars goggles
    sunglasses eyeglasses headphones clothes gas bias alias atlas canvas pancreas christmas
    lens news cosmos chaos rhinoceros mathematics physics athletics gymnastics aerobics
    his its has was does this thus yes always sometimes perhaps across
    """
)

_NOT_FROM_MAN = word_set(
    "abdomen acumen albumen amen bitumen hymen lumen omen ramen regimen semen specimen stamen"
)

_LAST_PARTS = tuple(
    (plural, IRREGULAR[plural])
    for plural in ("children", "mice", "geese", "teeth", "knives", "wives", "wolves", "shelves")
)


def singular(word: str) -> str:
    """The singular of a lower-case English noun; a word that is none comes back unchanged.

    Regular plurals (dogs, boxes, benches, parties, tomatoes), irregular ones (men, mice, knives,
    geese) and words that only look plural (bus, glass, tennis, scissors). Compounds follow their
    last part (firemen, grandchildren).

    >>> [singular(word) for word in ("women", "buses", "glass", "skis", "tennis", "knives")]
    ['woman', 'bus', 'glass', 'ski', 'tennis', 'knife']
    """
    known = IRREGULAR.get(word)
    if known is not None:
        return known
    if word.endswith("men"):
        return word if word in _NOT_FROM_MAN or len(word) < 6 else word[:-2] + "an"
    for plural, single in _LAST_PARTS:
        if word.endswith(plural):
            return word[: -len(plural)] + single
    if not word.endswith("s") or len(word) < 4 or word in _UNCHANGED:
        return word
    if word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y" if len(word) > 4 else word[:-1]
    stem = word[:-2]
    if word.endswith("es") and (
        stem.endswith(("ss", "x", "ch", "sh", "zz", "tz")) or (stem.endswith("o") and len(stem) > 3)
    ):
        return stem
    return word[:-1]
