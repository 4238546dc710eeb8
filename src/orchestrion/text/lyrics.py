"""Lyrics as they are written: words, what is between them, tags such as [verse]; and the ids that spell them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from orchestrion.errors import UserError
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedWord

MOST_CHARACTERS_A_SECOND = 40
"""Faster than any rap: lyrics that would have to be sung faster do not belong to the music."""

_TAG = re.compile(r"\[\s*([^\[\]]*[^\[\]\s])\s*\]")
_RUN = re.compile(r"\s+|\S+")


class Part(NamedTuple):
    """A piece of lyrics as they are written."""

    kind: Literal["word", "gap", "section"]
    text: str


@runtime_checkable
class Spelling(Protocol):
    """A way of writing lyrics as ids; `text.normalize.Dialect` and `text.alphabet.Alphabet` are such."""

    def prepared(self, lyrics: str) -> str:
        """The lyrics as they are spelled part by part."""
        ...

    def part_ids(self, part: Part) -> tuple[int, ...]: ...

    def clean(self, lyrics: str) -> str:
        """The lyrics as a model reads them."""
        ...


@dataclass(frozen=True)
class Spelled:
    """Lyrics as ids; `words` has for each word the places of its ids, those of words that vanish are empty.

    What a prior has of lyrics at a place has read the ids before it. So a word is there from the place after its first
    id to the place after its last, and the place of its first id is where everything before is over.
    """

    ids: tuple[int, ...]
    words: tuple[range, ...]

    @property
    def read(self) -> tuple[range, ...]:
        """For each word the places where it is being read or just was."""
        last = len(self.ids)
        return tuple(range(word.start + 1, min(word.stop + 1, last)) if word else word for word in self.words)

    @property
    def stretches(self) -> tuple[range, ...]:
        """All places, cut into those before any word is read, and for each word those up to where the next is read."""
        starts = [0, *(word.start + 1 if word else word.start for word in self.words), len(self.ids)]
        return tuple(range(start, max(start, stop)) for start, stop in pairwise(starts))


def parts(text: str) -> Iterator[Part]:
    """The pieces that `text` is made of, in order; a line of nothing but a tag in brackets holds a section.

    >>> [part.kind for part in parts("[Verse 1]\\nla li")]
    ['section', 'gap', 'word', 'gap', 'word']
    """
    for line in text.splitlines(keepends=True):
        tag = line.strip()
        if not _TAG.fullmatch(tag):
            yield from (Part("gap" if run.isspace() else "word", run) for run in _RUN.findall(line))
            continue
        before, _, after = line.partition(tag)
        for kind, piece in (("gap", before), ("section", tag), ("gap", after)):
            if piece:
                yield Part("section" if kind == "section" else "gap", piece)


def spelled(lyrics: str, spelling: Spelling) -> Spelled:
    """The ids of lyrics, and where in them each of their words is."""
    ids: list[int] = []
    words: list[range] = []
    for part in parts(spelling.prepared(lyrics)):
        start = len(ids)
        ids += spelling.part_ids(part)
        if part.kind == "word":
            words.append(range(start, len(ids)))
    return Spelled(tuple(ids), tuple(words))


def untimed(text: str, language: str | None = None) -> TimedLyrics:
    """The words of a text without their times; a line that is a tag in brackets names the section that follows.

    >>> [(line.section, line.text) for line in untimed("[Chorus]\\n la  li\\n\\nlu").lines]
    [('Chorus', 'la li'), (None, 'lu')]
    """
    lines = (
        TimedLine(words=tuple(TimedWord(text=word) for word in line.split()))
        for line in text.splitlines()
        if not line.isspace() and line
    )
    return sectioned(TimedLyrics(language=language, lines=tuple(lines)))


def stanzas(text: str) -> tuple[tuple[str, ...], ...]:
    """The words of each run of lines, which empty lines and tags keep apart.

    >>> stanzas("[Verse]\\nla li\\nlu\\n\\n[Chorus]\\nlo")
    (('la', 'li', 'lu'), ('lo',))
    """
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if not line.strip() or _TAG.fullmatch(line.strip()):
            found.append([])
        else:
            found[-1] += line.split()
    return tuple(tuple(words) for words in found if words)


def gone_on_with(before: str, wanted: str) -> str:
    """The words of a piece that goes on: those `wanted` where they begin with those `before`, else both in turn;
    none where none are wanted.

    >>> gone_on_with("la li", "la li\\nlu"), gone_on_with("la li", "la li lu"), gone_on_with("la li", "lu")
    ('la li\\nlu', 'la li\\nlu', 'la li\\n\\nlu')
    """
    sung = before.rstrip()
    if not sung or wanted.rstrip() in (sung, ""):
        return wanted
    more = wanted.removeprefix(sung)
    if more == wanted or not more[0].isspace():
        return f"{sung}\n\n{wanted.lstrip()}"
    return wanted if "\n" in more[: -len(more.lstrip())] else f"{sung}\n{more.lstrip()}"  # a line of its own


def sectioned(lyrics: TimedLyrics) -> TimedLyrics:
    """The same lyrics where lines that are tags in brackets have become the sections of the lines that follow them."""
    lines: list[TimedLine] = []
    section: str | None = None
    for line in lyrics.lines:
        tag = _TAG.fullmatch(line.text)
        if tag:
            section = tag[1]
            continue
        lines.append(line if section is None else line.model_copy(update={"section": section}))
        section = None
    return lyrics.model_copy(update={"lines": tuple(lines)})


def written(lyrics: TimedLyrics) -> str:
    """Timed lyrics as plain text, sections as tags in brackets: `untimed` reads the same words and sections again."""
    rows = chain.from_iterable((*_tags(line), line.text) for line in lyrics.lines)
    return "".join(f"{row}\n" for row in rows)


def known_times(lyrics: TimedLyrics) -> tuple[tuple[float, float] | None, ...]:
    """For each word when it begins and ends, in seconds, or None where that is not known.

    A word whose end alone is unknown ends where the next begins.
    """
    words = lyrics.words
    starts = [*(word.start for word in words[1:]), None]
    found: list[tuple[float, float] | None] = []
    for word, following in zip(words, starts, strict=True):
        end = following if word.end is None else word.end
        found.append((word.start, end) if word.start is not None and end is not None and end > word.start else None)
    return tuple(found)


def id_times(lyrics: TimedLyrics, ids: Spelled) -> tuple[float, ...] | None:
    """When each id of the lyrics begins to be sung, in seconds, never before the one ahead of it.

    Between what is known of words and syllables time passes evenly, and before and after it not at all. None where
    nothing is known.
    """
    assert len(lyrics.words) == len(ids.words), (len(lyrics.words), len(ids.words))
    known = list(
        chain.from_iterable(_anchors(word, places) for word, places in zip(lyrics.words, ids.words, strict=True))
    )
    if not known:
        return None
    times: list[float] = []
    before_place, before = -1, known[0][1]
    for place, time in known:
        time = max(time, before)
        step = (time - before) / max(place - before_place, 1)
        times += [before + step * (each - before_place) for each in range(max(before_place, 0), place)]
        before_place, before = place, time
    return tuple(times + [before] * (len(ids.ids) - len(times)))


def check_pace(num_characters: int, seconds: float) -> None:
    """Raise UserError for lyrics that nobody could sing in this time."""
    pace = num_characters / seconds
    if pace > MOST_CHARACTERS_A_SECOND:
        raise UserError(
            f"{num_characters} characters of lyrics in {seconds:g} s are {pace:.0f} a second, and nobody sings more "
            f"than {MOST_CHARACTERS_A_SECOND}",
            "give the words of this music alone, or more seconds",
        )


def _tags(line: TimedLine) -> tuple[str, ...]:
    name = " ".join(re.sub(r"[\[\]]", " ", line.section or "").split())
    return (f"[{name}]",) if name else ()


def _anchors(word: TimedWord, places: range) -> Iterator[tuple[int, float]]:
    """Places and times that are known of a word."""
    if word.start is not None:
        yield places.start, word.start
    read = 0
    for syllable in word.syllables:
        if syllable.start is not None and read:
            yield places.start + round(len(places) * read / len(word.text)), syllable.start
        read += len(syllable.text)
    if word.end is not None:
        yield places.stop, word.end
