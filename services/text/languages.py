"""The languages that the text models are made for."""

from collections.abc import Mapping

ENGLISH = "en"

MULTILINGUAL: Mapping[str, str] = {
    "ar": "Arabic",
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "pt": "Portuguese",
}
"""Languages of the multilingual model, by primary tag; each has an evaluation set of its own."""
