"""When words are sung that nobody has sung yet: a plan by syllables, lines and sections."""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate

from anyascii import anyascii

from orchestrion.text.lyrics import Spelling, parts, spelled, stanzas, untimed

LONGEST_SYLLABLE = 0.8
"""Seconds: where there is more time than words, the rest stays behind the last."""
LEAD = 2.0
"""Syllables that could be sung before the first word."""
LINE_REST, SECTION_REST = 1.0, 3.0
"""Syllables that could be sung in a rest behind a line, and behind the last one of a section."""
_AS_LONG = 0.02
"""Seconds that two ways of singing the same words may differ by."""

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


Until = Sequence[tuple[int, float]]
"""Up to which second so many of the first words are sung: what follows is sung after it, in what is left."""


def planned_times(lyrics: str, spelling: Spelling, seconds: float, until: Until = ()) -> tuple[float, ...]:
    """At which second of a song each id of its lyrics begins to be sung, in the order of `spelled`.

    All syllables are equally long, at most `LONGEST_SYLLABLE`, and lines and sections end in rests. The words of each
    part of a song that was made in several, which `until` tells apart, are planned by themselves.
    """
    return _places(lyrics, spelling, seconds, until)[:-1]


def planned_words(
    lyrics: str, spelling: Spelling, seconds: float, until: Until = ()
) -> tuple[tuple[float, float], ...]:
    """From which second of a song each of its words is to be sung, and until when."""
    places = _places(lyrics, spelling, seconds, until)
    return tuple((places[word.start], places[word.stop]) for word in spelled(lyrics, spelling).words)


def returning(
    lyrics: str, spelling: Spelling, seconds: float, until: Until = ()
) -> Iterator[tuple[float, float, float]]:
    """Stanzas whose words are sung a second time, as quickly as at first: from which second on, how long, and from
    which second on they were first sung."""
    times = planned_words(lyrics, spelling, seconds, until)
    sung: dict[tuple[str, ...], tuple[float, float]] = {}
    last = 0
    for words in stanzas(lyrics):
        first, last = last, last + len(words)
        start, long = times[first][0], times[last - 1][1] - times[first][0]
        before, as_long = sung.setdefault(tuple(_bare(word) for word in words), (start, long))
        if before < start and long > 0 and abs(long - as_long) < _AS_LONG:
            yield start, long, before


def _bare(word: str) -> str:
    """A word without capitals and signs; marks on its letters stay."""
    whole = unicodedata.normalize("NFC", word.casefold())
    return "".join(sign for sign in whole if unicodedata.category(sign)[0] not in "PSC")


def stretches(lyrics: str, seconds: float, until: Until = ()) -> Iterator[tuple[str, float]]:
    """The words of each part of a song that are planned by themselves, and the seconds there are for them."""
    words = [word.text for word in untimed(lyrics).words]
    first, start = 0, 0.0
    for last, stop in (*until, (len(words), seconds)):
        if last > first:
            yield " ".join(words[first:last]), max(stop - start, 1e-3)
        first, start = last, stop


def _places(lyrics: str, spelling: Spelling, seconds: float, until: Until) -> tuple[float, ...]:
    """Where each id begins, and where the last one ends."""
    sung = [*until, (math.inf, seconds)]
    lengths: list[list[float]] = [[]]  # of the ids of each part of the song
    before, words = "section", 0
    for part in parts(spelling.prepared(lyrics)):
        while part.kind != "gap" and words == sung[len(lengths) - 1][0]:
            lengths.append([])
        words += part.kind == "word"
        count = len(spelling.part_ids(part))
        length = 0.0
        if part.kind == "word":
            length = float(syllables(part.text))
        elif part.kind == "section" and lengths[-1]:
            length = SECTION_REST - LINE_REST
        elif before == "word" and "\n" in part.text:
            length = LINE_REST
        before = part.kind
        lengths[-1] += [length / count] * count if count else []
    places, start, last = [], 0.0, 0.0
    for own, (_, stop) in zip(lengths, sung, strict=False):
        unit = min(max(stop - start, 0.0) / (LEAD + sum(own)), LONGEST_SYLLABLE)
        *begun, last = (start + unit * (LEAD + passed) for passed in accumulate([0.0, *own]))
        places += begun
        start = stop
    return (*places, last)
