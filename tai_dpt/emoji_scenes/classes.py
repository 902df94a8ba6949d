"""The 64 classes of `emoji_scenes`: names, COCO ids, synonyms, and the emoji that draw them.

A class may have several *variants* (a taxi is a car too). A variant may narrow the words a caption
uses for it: a sprite of a woman is called "person" or "woman", never "man".
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Variant:
    """One drawing of a class.

    Args:
        code: the emoji's code points, lower-case hexadecimal, joined by ``-``.
        words: synonyms of the class that fit this drawing only; the class's own name and its
            general synonyms always fit.
        without: families whose drawing shows something else (Twemoji's tennis emoji is a ball).
    """

    code: str
    words: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class SceneClass:
    """One class: its name, COCO category id, general synonyms and drawings."""

    name: str
    category_id: int
    synonyms: tuple[str, ...]
    variants: tuple[Variant, ...]
    pair: bool = False  # "a pair of scissors", not "a scissors"
    irregular: dict[str, str] = field(default_factory=dict)  # plurals that no rule makes

    @property
    def words(self) -> tuple[str, ...]:
        """Name, general synonyms and the variants' own words, each once, in this order."""
        own = [word for variant in self.variants for word in variant.words]
        return tuple(dict.fromkeys((self.name, *self.synonyms, *own)))

    def fitting(self, variant: int) -> tuple[str, ...]:
        """Words that fit drawing number `variant`: the name first."""
        return (self.name, *self.synonyms, *self.variants[variant].words)

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return self.name.replace(" ", "_")


def _one(
    name: str,
    category_id: int,
    codes: str,
    *synonyms: str,
    pair: bool = False,
    irregular: dict[str, str] | None = None,
    without: tuple[str, ...] = (),
    **words: str,
) -> SceneClass:
    """Build a class from a compact row.

    `codes` are the variants' code points, separated by spaces; ``w1="taxi cab|taxi"`` gives the
    second variant (counted from 0) its own words.
    """
    variants = tuple(
        Variant(code, tuple(words[f"w{i}"].split("|")) if f"w{i}" in words else (), without)
        for i, code in enumerate(codes.split())
    )
    return SceneClass(name, category_id, synonyms, variants, pair, irregular or {})


_PEOPLE = {"person": "people", "man": "men", "woman": "women", "child": "children"}

# Category ids are COCO's own; "guitar" fills the list up to 64 and has an id COCO does not use.
CLASSES: tuple[SceneClass, ...] = (
    _one(
        "person",
        1,
        "1f9cd-200d-2642-fe0f 1f9cd-200d-2640-fe0f 1f468 1f469 1f466 1f467 1f6b6 1f483",
        irregular=_PEOPLE,
        w0="man",
        w1="woman",
        w2="man",
        w3="woman",
        w4="boy|child",
        w5="girl|child",
        w6="man",
        w7="woman",
    ),
    _one("bicycle", 2, "1f6b2", "bike"),
    _one("car", 3, "1f697 1f699 1f695", "automobile", w2="taxi"),
    _one("motorcycle", 4, "1f3cd-fe0f 1f6f5", "motorbike", w1="scooter"),
    _one("airplane", 5, "2708-fe0f 1f6e9-fe0f", "plane", "jet"),
    _one("bus", 6, "1f68c 1f68d", irregular={"bus": "buses"}),
    _one("train", 7, "1f682 1f686 1f685", w0="locomotive"),
    _one("truck", 8, "1f69a 1f69b 1f6fb", "lorry", w2="pickup truck"),
    _one("boat", 9, "26f5 1f6e5-fe0f 1f6a2", w0="sailboat", w1="motorboat", w2="ship"),
    _one("traffic light", 10, "1f6a6 1f6a5", "stoplight", "traffic signal"),
    _one("stop sign", 13, "1f6d1"),
    _one("bird", 16, "1f426 1f99c 1f986", w1="parrot", w2="duck"),
    _one("cat", 17, "1f408 1f431", "kitten"),
    _one("dog", 18, "1f415 1f436 1f429", "puppy", w2="poodle"),
    _one("horse", 19, "1f40e 1f434", "pony", irregular={"pony": "ponies"}),
    _one("sheep", 20, "1f411 1f40f", irregular={"sheep": "sheep"}, w0="lamb", w1="ram"),
    _one("cow", 21, "1f404 1f42e", "calf", irregular={"calf": "calves"}),
    _one("elephant", 22, "1f418"),
    _one("bear", 23, "1f43b 1f43b-200d-2744-fe0f", w0="brown bear", w1="polar bear"),
    _one("zebra", 24, "1f993"),
    _one("giraffe", 25, "1f992"),
    _one("backpack", 27, "1f392", "rucksack"),
    _one("umbrella", 28, "2602-fe0f 2614 1f302", "parasol"),
    _one("handbag", 31, "1f45c 1f45b", "purse"),
    _one("tie", 32, "1f454", "necktie"),
    _one("suitcase", 33, "1f9f3", "luggage", irregular={"luggage": "luggage"}),
    _one("skis", 35, "1f3bf", "ski", pair=True),
    _one(
        "sports ball",
        37,
        "26bd 1f3c0 1f3d0 26be",
        "ball",
        w0="soccer ball",
        w1="basketball",
        w2="volleyball",
        w3="baseball",
    ),
    _one("kite", 38, "1fa81"),
    _one("skateboard", 41, "1f6f9", "skate board"),
    _one("tennis racket", 43, "1f3be", "racket", "tennis racquet", without=("twemoji",)),
    _one("bottle", 44, "1f37e 1f37c 1f9f4", w0="champagne bottle", w1="baby bottle"),
    _one("wine glass", 46, "1f377", "glass of wine", "wineglass"),
    _one("cup", 47, "2615 1f375", "mug", w0="coffee cup", w1="teacup"),
    _one("knife", 49, "1f52a", "kitchen knife", irregular={"knife": "knives"}),
    _one("spoon", 50, "1f944"),
    _one("bowl", 51, "1f963 1f35c"),
    _one("banana", 52, "1f34c"),
    _one("apple", 53, "1f34e 1f34f", w0="red apple", w1="green apple"),
    _one("sandwich", 54, "1f96a"),
    _one("orange", 55, "1f34a", "tangerine"),
    _one("broccoli", 56, "1f966", irregular={"broccoli": "broccoli"}),
    _one("carrot", 57, "1f955"),
    _one("hot dog", 58, "1f32d", "hotdog"),
    _one("pizza", 59, "1f355", "slice of pizza"),
    _one("donut", 60, "1f369", "doughnut"),
    _one("cake", 61, "1f370 1f382 1f9c1", w1="birthday cake", w2="cupcake"),
    _one("chair", 62, "1fa91", "wooden chair"),
    _one("couch", 63, "1f6cb-fe0f", "sofa"),
    _one("potted plant", 64, "1fab4", "houseplant", "plant"),
    _one("bed", 65, "1f6cf-fe0f"),
    _one("toilet", 70, "1f6bd"),
    _one("tv", 72, "1f4fa", "television", "television set"),
    _one("laptop", 73, "1f4bb", "laptop computer", "notebook computer"),
    _one("mouse", 74, "1f5b1-fe0f", "computer mouse", irregular={"mouse": "mice"}),
    _one("keyboard", 76, "2328-fe0f", "computer keyboard"),
    _one("cell phone", 77, "1f4f1", "mobile phone", "phone", "smartphone"),
    _one("book", 84, "1f4d6 1f4d5 1f4d7 1f4d8", "novel"),
    _one("clock", 85, "1f570-fe0f 23f0 1f555", w1="alarm clock"),
    _one("vase", 86, "1f3fa", "jar"),
    _one("scissors", 87, "2702-fe0f", pair=True),
    _one("teddy bear", 88, "1f9f8", "teddy", "stuffed bear"),
    _one("toothbrush", 90, "1faa5"),
    _one("guitar", 201, "1f3b8"),
)

NAMES: tuple[str, ...] = tuple(scene_class.name for scene_class in CLASSES)


def plural(word: str, scene_class: SceneClass) -> str:
    """Plural of a synonym: the last noun of a compound changes, or the first before " of "."""
    head, of, tail = word.partition(" of ")
    first, space, last = head.rpartition(" ")
    if last in scene_class.irregular:
        last = scene_class.irregular[last]
    elif last.endswith(("s", "sh", "ch", "x")):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = last[:-1] + "ies"
    elif last.endswith("man"):
        last = last[:-3] + "men"
    else:
        last += "s"
    return f"{first}{space}{last}{of}{tail}"
