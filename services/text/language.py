"""Which language a text is in, and what that means for the result."""

import re
import tempfile
from array import array
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from services.common.errors import InvalidRequest
from services.text.languages import ENGLISH, MULTILINGUAL

_CANDIDATES = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he",
    "hi", "hr", "hu", "id", "it", "ja", "ko", "lt", "lv", "ms", "nl", "no", "pl", "pt", "ro",
    "ru", "sk", "sl", "sr", "sv", "sw", "ta", "te", "th", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
_TAG = re.compile(r"(?P<language>[A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8})*")
_LEAST_SURE = 0.4
_TIMES_ENGLISH = 5.0
_NOT_ENGLISH = 1e-3
_SURE_ENGLISH = 0.3


@dataclass(frozen=True, slots=True)
class Language:
    """A BCP 47 tag; uncertain when it was assumed for want of evidence."""

    tag: str
    uncertain: bool = False

    @property
    def primary(self) -> str:
        """The tag without region, script and so on."""
        return self.tag.replace("_", "-").split("-")[0].lower()

    @property
    def english(self) -> bool:
        """Whether the English model reads this language as it should."""
        return self.primary == ENGLISH

    @property
    def multilingual(self) -> bool:
        """Whether the multilingual model reads this language."""
        return self.primary in MULTILINGUAL


def given(tag: str) -> Language:
    """The language a client names. Raises InvalidRequest for what is no BCP 47 tag."""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise InvalidRequest(
            f'"{tag[:40]}" is not a language tag.',
            field="language",
            suggestion='Send a BCP 47 tag such as "en" or "pt-BR", or leave language out.',
        )
    primary = match["language"]
    return Language(primary.lower() + tag[len(primary) :].replace("_", "-"))


class LanguageDetector:
    """py3langid (langid.py, Lui and Baldwin 2012) over the languages of most users.

    English is assumed unless another language is clearly likelier: a few words say little. Lists of
    100,000 numbers are put into arrays, a tenth of their size.
    """

    def __init__(self) -> None:
        full = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        kept = [i for i, name in enumerate(full.nb_classes) if name in _CANDIDATES]
        self._identifier = LanguageIdentifier(
            full.nb_ptc[:, kept],
            full.nb_pc[kept],
            [full.nb_classes[i] for i in kept],
            _mapped(full.tk_nextmove),
            array("i", full.tk_output),
            norm_probs=True,
            tk_row=full.tk_row,
        )
        self._identifier._rowbase = array("i", self._identifier._rowbase)

    def detect(self, text: str) -> Language:
        """Language of a text; its first 2,000 characters are looked at."""
        ranked = dict(self._identifier.rank(text[:2000]))
        english = ranked[ENGLISH]
        best, sure = max(ranked.items(), key=lambda pair: pair[1])
        clear = sure >= _LEAST_SURE and sure >= _TIMES_ENGLISH * english
        if best != ENGLISH and (clear or english < _NOT_ENGLISH):
            return Language(best)
        return Language(ENGLISH, uncertain=english < _SURE_ENGLISH)


def _mapped(numbers: "array[int]") -> memoryview:
    """The same numbers in a nameless file, of which only pages that are read take memory.

    The automaton has 10 million transitions of 32 bits, 39 MB; texts walk over few of them.
    """
    with tempfile.TemporaryFile() as file:
        numbers.tofile(file)
        file.flush()
        return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ)).cast("I")
