"""When words are sung that nobody has sung yet: a plan by syllables, lines and sections."""

import re
import unicodedata
from itertools import accumulate

from anyascii import anyascii

from orchestrion.text.lyrics import Spelling, parts, spelled

LONGEST_SYLLABLE = 0.8
"""Seconds: where there is more time than words, the rest stays behind the last."""
LEAD = 2.0
"""Syllables that could be sung before the first word."""
LINE_REST, SECTION_REST = 1.0, 3.0
"""Syllables that could be sung in a rest behind a line, and behind the last one of a section."""

_VOWELS = re.compile("[aeiouyæœøɐ-ʯ]+", re.IGNORECASE)
_CYRILLIC_VOWEL = re.compile("[аеёиоуыэюяѐѝєії]", re.IGNORECASE)
_CYRILLIC = re.compile("[\u0400-\u04ff]")
_ALPHABETIC = re.compile(r"\w")


def syllables(word: str) -> int:
    """About how many syllables a word has.

    Its groups of vowels; in Cyrillic its vowels; and in scripts without small and capital letters, most of which write
    syllables, its letters.

    >>> [syllables(word) for word in ("Mondnacht", "lumière", "hm", "привет", "καλημέρα", "사랑해", "歌う", "—")]
    [2, 3, 1, 2, 4, 3, 2, 0]
    """
    whole = unicodedata.normalize("NFC", word)
    unmarked = (sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign))
    bare = unicodedata.normalize("NFC", "".join(unmarked))  # what Hangul was taken apart into is put together again
    letters = len(_ALPHABETIC.findall(bare))
    if not letters:
        return 0
    if _CYRILLIC.search(whole):
        return max(1, len(_CYRILLIC_VOWEL.findall(whole)))
    if bare.lower() == bare.upper():
        return letters
    latin = any("a" <= sign <= "z" for sign in bare.lower())
    return max(1, len(_VOWELS.findall(bare if latin else anyascii(bare))))


def planned_times(lyrics: str, spelling: Spelling, seconds: float) -> tuple[float, ...]:
    """At which second of a song each id of its lyrics begins to be sung, in the order of `spelled`.

    All syllables are equally long, at most `LONGEST_SYLLABLE`, and lines and sections end in rests.
    """
    return _places(lyrics, spelling, seconds)[:-1]


def planned_words(lyrics: str, spelling: Spelling, seconds: float) -> tuple[tuple[float, float], ...]:
    """From which second of a song each of its words is to be sung, and until when."""
    places = _places(lyrics, spelling, seconds)
    return tuple((places[word.start], places[word.stop]) for word in spelled(lyrics, spelling).words)


def _places(lyrics: str, spelling: Spelling, seconds: float) -> tuple[float, ...]:
    """Where each id begins, and where the last one ends."""
    lengths: list[float] = []
    before = "section"
    for part in parts(spelling.prepared(lyrics)):
        count = len(spelling.part_ids(part))
        length = 0.0
        if part.kind == "word":
            length = float(syllables(part.text))
        elif part.kind == "section" and lengths:
            length = SECTION_REST - LINE_REST
        elif before == "word" and "\n" in part.text:
            length = LINE_REST
        before = part.kind
        lengths += [length / count] * count if count else []
    whole = LEAD + sum(lengths)
    unit = min(seconds / whole, LONGEST_SYLLABLE)
    return tuple(unit * (LEAD + before) for before in accumulate([0.0, *lengths]))
