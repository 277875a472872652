"""What can be analysed, and the error for what cannot."""

import unicodedata
from collections.abc import Sequence

from services.common.errors import InvalidRequest, InvalidText, PayloadTooLarge
from services.text.findings import Item

MAX_CHARACTERS = 100_000
MAX_TEXTS = 1_000
MAX_BATCH_CHARACTERS = 1_000_000
"""Largest text, batch, and sum of a batch, in texts and Unicode code points."""


def check(text: str, name: str = "text") -> None:
    """Raises InvalidText or PayloadTooLarge, naming the field, for a text that cannot be read."""
    if len(text) > MAX_CHARACTERS:
        raise PayloadTooLarge(
            f"{name} has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}.",
            field=name,
            suggestion="Send the text in parts.",
        )
    visible = any(
        not c.isspace() and unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Cn"} for c in text
    )
    if not visible:
        raise InvalidText(
            f"{name} is empty or has nothing but white space and control characters.",
            field=name,
            suggestion="Send at least one visible character.",
        )


def check_batch(items: Sequence[Item]) -> None:
    """Raises InvalidRequest, InvalidText or PayloadTooLarge for a batch that cannot be read."""
    if not items:
        raise InvalidRequest("texts is empty.", field="texts", suggestion="Send 1 to 1,000 texts.")
    if len(items) > MAX_TEXTS:
        raise PayloadTooLarge(
            f"texts has {len(items):,} entries; the limit is {MAX_TEXTS:,}.",
            field="texts",
            suggestion="Send several batches.",
        )
    total = sum(len(item.text) for item in items)
    if total > MAX_BATCH_CHARACTERS:
        raise PayloadTooLarge(
            f"texts has {total:,} characters in all; the limit is {MAX_BATCH_CHARACTERS:,}.",
            field="texts",
            suggestion="Send several batches.",
        )
    seen: set[str] = set()
    for i, item in enumerate(items):
        if not item.id.strip():
            raise InvalidRequest(
                f"texts[{i}] has no id.",
                field=f"texts[{i}].id",
                suggestion="Give every text an id of its own.",
            )
        if item.id in seen:
            raise InvalidRequest(
                f'texts[{i}] repeats the id "{item.id[:80]}".',
                field=f"texts[{i}].id",
                suggestion="Give every text an id of its own.",
            )
        seen.add(item.id)
        check(item.text, f"texts[{i}].text")
