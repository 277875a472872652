"""Responsible use: what emotions may not be inferred for, and under which law."""

from collections.abc import Mapping
from dataclasses import dataclass

USE_CONTEXTS = (
    "accessibility",
    "customer_service",
    "education",
    "entertainment",
    "healthcare",
    "market_research",
    "medical_or_safety",
    "other",
    "personal",
    "recruitment",
    "research",
    "wellbeing",
    "workplace",
)
"""What an organisation may declare; the empty string stands for nothing declared."""

EU = "EU"

_EU_MEMBERS = frozenset(
    {
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
        *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    }
)


@dataclass(frozen=True)
class Rule:
    """A prohibition."""

    name: str
    text: str


_ARTICLE_5 = Rule(
    "EU AI Act, Article 5(1)(f)",
    "Regulation (EU) 2024/1689 prohibits inferring emotions of people at the workplace, which "
    "includes recruitment, and in education, except for medical or safety reasons.",
)

PROHIBITED: Mapping[str, Mapping[str, Rule]] = {
    EU: dict.fromkeys(("workplace", "education", "recruitment"), _ARTICLE_5)
}
"""Rules by jurisdiction and use context."""


def law_of(jurisdiction: str) -> str:
    """The jurisdiction whose rules apply: that of the Union for its member states."""
    return EU if jurisdiction in _EU_MEMBERS else jurisdiction


def rule_against(jurisdiction: str, use_context: str) -> Rule | None:
    """The rule that prohibits inferring emotions for this use, where there is one."""
    return PROHIBITED.get(law_of(jurisdiction), {}).get(use_context)
