"""The prices. Every amount of money of the product stands in this table."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from services.common import errors

CENT = Decimal("0.01")
MICRO = Decimal("0.000001")
MAX_QUANTITY = Decimal(1_000_000)
"""Most that one entry may hold."""


@dataclass(frozen=True)
class Price:
    """What one unit of an item costs in USD."""

    item: str
    unit: str
    usd: Decimal


def _included(item: str, unit: str = "request") -> Price:
    return Price(item, unit, Decimal(0))


PRICES: Mapping[str, Price] = {
    price.item: price
    for price in (
        Price("video.basic", "minute", Decimal("0.25")),
        Price("video.advanced", "minute", Decimal("0.50")),
        _included("audio.emotion", "minute"),
        _included("analyze.face"),
        _included("analyze.face.video"),
        _included("analyze.voice"),
        _included("analyze.voice.stream", "minute"),
        _included("analyze.text"),
        _included("analyze.text.batch"),
        _included("analyze.biosignal"),
        _included("analyze.biosignal.stream", "minute"),
        _included("analyze.multimodal"),
        _included("stream", "minute"),
        _included("job"),
    )
}
"""WIA requests are included in the plan; recordings are charged by the minute."""


def price_of(item: str) -> Price:
    """The price of an item. Raises InvalidRequest for one that is not in the table."""
    price = PRICES.get(item)
    if price is None:
        raise errors.InvalidRequest(
            f"There is no item {item[:64]!r} in the price table.",
            field="item",
            suggestion=f"Use one of {', '.join(PRICES)}.",
        )
    return price


def quantity_of(text: str) -> Decimal:
    """A quantity from its decimal notation, to six places, half up.

    Raises InvalidRequest unless it is a finite number in [0, MAX_QUANTITY].
    """
    try:
        quantity = Decimal(text)
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite() or not 0 <= quantity <= MAX_QUANTITY:
        raise errors.InvalidRequest(
            f"{text[:32]!r} is not a quantity.",
            field="quantity",
            suggestion=f"Send a decimal number from 0 to {MAX_QUANTITY}.",
        )
    return quantity.quantize(MICRO, ROUND_HALF_UP)


def cost(quantity: Decimal, unit_usd: Decimal) -> Decimal:
    """The price of a quantity, half up to the cent: 5.25 minutes at 0.25 cost 1.31 USD."""
    return (quantity * unit_usd).quantize(CENT, ROUND_HALF_UP)


def to_micro(value: Decimal) -> int:
    """Millionths, as the database holds quantities and amounts."""
    return int((value / MICRO).to_integral_value(ROUND_HALF_UP))


def from_micro(value: int) -> Decimal:
    """A number from its millionths."""
    return value * MICRO


def plain(value: Decimal) -> str:
    """Decimal notation without exponent or trailing zeros: "5.25", "100", "0"."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
