"""Named things, and the common nouns for products that count as such."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.text.aspects import Mention

PRODUCT_NOUNS = frozenset({
    "product", "item", "device", "gadget", "phone", "smartphone", "laptop", "computer",
    "tablet", "camera", "tv", "television", "monitor", "keyboard", "mouse", "headphones",
    "earbuds", "speaker", "printer", "router", "charger", "battery", "watch", "car", "bike",
    "vacuum", "blender", "kettle", "toaster", "fridge", "mattress", "sofa", "chair", "desk",
    "lamp", "backpack", "bag", "jacket", "dress", "shirt", "shoes", "sneakers", "boots",
    "perfume", "shampoo", "cream", "razor", "toy", "game", "book", "app", "software",
})  # fmt: skip
"""Common nouns that count as a PRODUCT entity when the text has an opinion about them.

The WIA document shows "product" itself as a PRODUCT entity.
"""


LEAST_CONFIDENCE = 0.45
"""Tagged entities below this confidence are not reported."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A named thing: code points [start, end), type, sentiment in [-1, 1], confidence in [0, 1].

    derived: a common noun from PRODUCT_NOUNS, not tagged by the model.
    """

    text: str
    type: str
    start: int
    end: int
    sentiment: float
    confidence: float
    derived: bool = False


def with_products(entities: Sequence[Entity], mentions: Sequence[Mention]) -> list[Entity]:
    """Entities and, where none overlaps, the aspect terms that are product nouns; one per noun."""
    found = list(entities)
    seen: set[str] = set()
    for mention in mentions:
        noun = mention.text.lower()
        head = noun.split()[-1]
        known = head in PRODUCT_NOUNS or head.removesuffix("s") in PRODUCT_NOUNS
        overlaps = any(mention.start < e.end and e.start < mention.end for e in found)
        if known and not overlaps and noun not in seen:
            seen.add(noun)
            negative, _, positive = (float(p) for p in mention.polarity)
            found.append(
                Entity(
                    mention.text,
                    "PRODUCT",
                    mention.start,
                    mention.end,
                    positive - negative,
                    float(mention.polarity.max()),
                    derived=True,
                )
            )
    return sorted(found, key=lambda e: e.start)
