"""Lyrics and names as the published models read them: one dialect for each version of their labels."""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from anyascii import anyascii

from orchestrion.errors import UserError
from orchestrion.text.lyrics import Part

_LETTERS = string.ascii_uppercase + string.ascii_lowercase
_MARKS = ".,:;!?-+'\"()[] \t\n"
_NOT_IN_A_KEY = re.compile("[^a-z0-9]+")
_EMOJI_NAME = re.compile(":[^:]+:")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_HANGUL = re.compile("[\uac00-\ud7a3]")


def _taught(characters: str, spellings: str) -> dict[str, str]:
    return dict(zip(characters, spellings.split(), strict=True))


# Where the published models were taught another spelling than anyascii's; docs/text.md says what is left apart.
_SIGNS = _taught("—―‚„‧·×£§¢©®™ÆŒ・", "-- -- , ,, . * x PS SS C/ (c) (r) (tm) AE OE *")
_SPACED = {"¼": " 1/4 ", "½": " 1/2 ", "¾": " 3/4 ", "№": "No. ", "、": ", ", "。": ". ", "」": "] ", "\u200b": " "}
_LINES = {"\u2028": "\n", "\u2029": "\n\n"}
_GREEK = _taught("ΒΗΞΥΦΧΉΎΫβηυφχήύϋ", "B E Ks U Ph Kh E U U b e u ph kh e u u")  # as written, not as spoken today
_CYRILLIC = _taught("ЁЙЮЯЇёйюяї", "Io I Iu Ia Yi io i iu ia yi")
_KANA = _taught("じぢっづふゐゑをジヂッヅフヰヱヲ", "zi di tsu du hu wi we wo zi di tsu du hu wi we wo")
_READINGS = _taught(  # of two readings of a Chinese character the other one
    "都了长还地着万种什么呢谁血离", "Du Liao Chang Huan Di Zhao Mo Chong Shi Yao Ni Shui Xie Chi"
)
_TAUGHT = str.maketrans(
    _SIGNS | _SPACED | _LINES | _GREEK | _CYRILLIC | _KANA | {han: f"{spelled} " for han, spelled in _READINGS.items()}
)


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one version of the published labels spells lyrics, artists and genres.

    The id of a character is its place in `alphabet`, from 1; 0 fills short lyrics up.

    >>> V2.clean("Café + thé = 3 €"), V3.clean("Café + thé = 3 €")
    ('Cafe + the  3 EUR', 'Cafe  the  3 EUR')
    >>> V2.artist_key("AC/DC"), V3.artist_key("AC/DC")
    ('ac_dc', 'ac/dc')
    >>> V2.genre_keys("Classic Rock"), V3.genre_keys("Classic Rock")
    (('classic', 'rock'), ('classic rock',))
    """

    name: str
    alphabet: str
    genre_slots: int  # genres that a label has room for
    splits_names: bool  # v2: letters and digits only, genres as bags of words; v3: names as they are

    @property
    def alphabet_size(self) -> int:
        """Character ids in use, 0 included."""
        return len(self.alphabet) + 1

    def clean(self, lyrics: str) -> str:
        """The lyrics in the alphabet: foreign letters spelled in it, a backslash as a new line, the rest left out."""
        spelled = transliterate(lyrics).replace("\\", "\n")
        return "".join(character for character in spelled if character in self._ids)

    def prepared(self, lyrics: str) -> str:
        """The lyrics as they are."""
        return lyrics

    def part_ids(self, part: Part) -> tuple[int, ...]:
        """The ids of a piece of lyrics: every character is spelled by itself, tags too."""
        return self.character_ids(self.clean(part.text))

    def character_ids(self, text: str) -> tuple[int, ...]:
        """The id of each character of a clean text; UserError for a character outside the alphabet."""
        foreign = sorted(set(text) - self._ids.keys())
        if foreign:
            raise UserError(f"no {self.name} model knows the characters {foreign}", "clean the lyrics first")
        return tuple(self._ids[character] for character in text)

    def text(self, ids: Sequence[int]) -> str:
        """The characters with these ids, without the filling."""
        return "".join(self.alphabet[one - 1] for one in ids if one)

    def artist_key(self, name: str) -> str:
        """The artist's name as the published lists spell it."""
        return _NOT_IN_A_KEY.sub("_", name.lower()).strip("_") if self.splits_names else name.lower()

    def genre_keys(self, name: str) -> tuple[str, ...]:
        """The entries of the published list that a genre's name stands for: one per word in v2, one in v3."""
        key = self.artist_key(name)
        return tuple(key.split("_")) if self.splits_names else (key,)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.alphabet, start=1)}


V2 = Dialect(name="v2", alphabet=_LETTERS + string.digits + _MARKS, genre_slots=5, splits_names=True)
V3 = Dialect(name="v3", alphabet=V2.alphabet.replace("+", ""), genre_slots=1, splits_names=False)
DIALECTS = {dialect.name: dialect for dialect in (V2, V3)}


def transliterate(text: str) -> str:
    """`text` in ASCII, spelled as the published models were taught where that is commonly met.

    Each Chinese character is followed by a space; signs without a spelling and pictures vanish.

    >>> transliterate("Straße – “naïve” 京都")
    'Strasse - "naive" Jing Du '
    """
    return "".join(_spelled(character) for character in text.translate(_TAUGHT))


def _spelled(character: str) -> str:
    if character.isascii():
        return character
    spelled = anyascii(character)
    if _HAN.match(character):
        return spelled + " "
    if _HANGUL.match(character):
        return spelled.lower()
    return "" if _EMOJI_NAME.fullmatch(spelled) else spelled
