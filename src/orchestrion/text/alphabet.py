"""The alphabet of our own singing models: common letters as they are, all others as bytes, sections as single ids."""

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import cached_property

from pydantic import field_validator

from orchestrion.config import Settings
from orchestrion.text.lyrics import Part, parts, untimed, written

OTHER_SECTION = "part"

_LATIN_1 = "".join(chr(code) for code in range(0xC0, 0x100) if code not in (0xD7, 0xF7))
_LATIN_A = "".join(chr(code) for code in range(0x100, 0x180))
COMMON = f"\n {string.ascii_letters}{string.digits}{string.punctuation}¡¿{_LATIN_1}{_LATIN_A}"

# By the first letters in the tag: the languages that songs are most often in, and what lyrics sites write.
_SECTIONS = {
    "intro": "intro einleitung vorspiel introduction",
    "verse": "verse vers strophe couplet estrofa strofa",
    "prechorus": "prechorus prerefrain lift",
    "chorus": "chorus refrain hook kehrreim estribillo ritornello",
    "bridge": "bridge pont brücke puente",
    "interlude": "interlude instrumental solo zwischenspiel break",
    "outro": "outro ending schluss ende fin coda nachspiel",
    OTHER_SECTION: "",
}
_MEANINGS = {word: name for name, words in _SECTIONS.items() for word in (name, *words.split())}

_ALIKE = str.maketrans(
    dict.fromkeys("‘’‚‛′ʹʻʼ`´", "'")
    | dict.fromkeys("“”„‟″«»‹›", '"')
    | dict.fromkeys("‐‑‒–—―−", "-")
    | {"…": "...", "⁄": "/", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl"}
)
_JOINERS = "\u200c\u200d"  # unlike other signs without width they tell letters apart
_UNHEARD = ("Cc", "Cf", "Cs")


class Alphabet(Settings):
    """How a model of ours spells lyrics in any language; it is kept with the model.

    Text is put in Unicode's normal form NFC; case and accents stay. Signs that only look different, such as typographic
    quotes and dashes, become one, those without any look vanish. A line with a tag in brackets, such as [verse] or
    [Chorus 2], is one id. What is not among `characters` is spelled in the bytes of UTF-8, so that there is no text
    without a spelling. Id 0 fills short lyrics up; sections, bytes and characters follow.

    >>> alphabet = Alphabet()
    >>> alphabet.clean("[Strophe 1]\\nSchläft  ein Lied – 夜")
    '[verse]\\nSchläft ein Lied - 夜\\n'
    """

    characters: str = COMMON
    sections: tuple[str, ...] = tuple(_SECTIONS)

    @field_validator("characters")
    @classmethod
    def _differ(cls, characters: str) -> str:
        if len(set(characters)) < len(characters) or not {"\n", " "} <= set(characters):
            raise ValueError("characters are given once each, a space and a new line among them")
        return characters

    @field_validator("sections")
    @classmethod
    def _has_a_rest(cls, sections: tuple[str, ...]) -> tuple[str, ...]:
        if OTHER_SECTION not in sections:
            raise ValueError(f"sections need {OTHER_SECTION!r}, which stands for all others")
        return sections

    @property
    def size(self) -> int:
        """Ids in use, 0 included."""
        return self._first_character + len(self.characters)

    def prepared(self, lyrics: str) -> str:
        """A line of the text for each line that is not empty, single spaces between words."""
        return written(untimed(lyrics))

    def part_ids(self, part: Part) -> tuple[int, ...]:
        """The ids of a section, of what is between words, or of a word."""
        if part.kind == "section":
            return (1 + self.sections.index(self._section(part.text)),)
        text = ("\n" if "\n" in part.text else " ") if part.kind == "gap" else heard(part.text)
        ids: list[int] = []
        for character in text:
            own = self._ids.get(character)
            ids += (self._first_byte + byte for byte in character.encode()) if own is None else (own,)
        return tuple(ids)

    def clean(self, lyrics: str) -> str:
        """The lyrics as a model reads them."""
        return "".join(self.text(self.part_ids(part)) for part in parts(self.prepared(lyrics)))

    def text(self, ids: Sequence[int]) -> str:
        """What these ids spell, without filling; bytes that are not a whole character become U+FFFD."""
        pieces: list[str] = []
        raw = bytearray()
        for one in ids:
            if self._first_byte <= one < self._first_character:
                raw.append(one - self._first_byte)
                continue
            pieces.append(raw.decode(errors="replace"))
            raw.clear()
            if one >= self._first_character:
                pieces.append(self.characters[one - self._first_character])
            elif one:
                pieces.append(f"[{self.sections[one - 1]}]")
        return "".join(pieces) + raw.decode(errors="replace")

    def _section(self, tag: str) -> str:
        letters = re.findall(r"[^\W\d_]+", tag.partition(":")[0].casefold())
        found = (_MEANINGS.get("".join(letters[:count])) for count in (2, 1))
        name = next((name for name in found if name is not None), OTHER_SECTION)
        return name if name in self.sections else OTHER_SECTION

    @property
    def _first_byte(self) -> int:
        return 1 + len(self.sections)

    @property
    def _first_character(self) -> int:
        return self._first_byte + 256

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: id_ for id_, character in enumerate(self.characters, self._first_character)}


def heard(word: str) -> str:
    """A word in normal form, without signs that are not heard.

    >>> heard("l\u2019e\u0301te\u0301\u00ad")
    "l'été"
    """
    normal = unicodedata.normalize("NFC", word).translate(_ALIKE)
    return "".join(letter for letter in normal if letter in _JOINERS or unicodedata.category(letter) not in _UNHEARD)
