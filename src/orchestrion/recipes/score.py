"""Songs as they are performed: who sings what when, and what accompanies it, from MusicXML."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise, takewhile

from orchestrion.errors import UserError
from orchestrion.recipes.musicxml import Measure, Syllable, WrittenNote, programs, read_measures, read_root

_MAX_QUARTERS = 20_000
_USUAL_TEMPO = 90.0
_SHARE_OF_A_VERSE = 0.8  # of the first verse's syllables, to be sung in its place


@dataclass(frozen=True)
class Note:
    """Times in quarter notes from the start of the song as it is played; `pitch` is a MIDI number."""

    start: float
    duration: float
    pitch: int
    velocity: int
    syllable: Syllable | None = None

    @property
    def end(self) -> float:
        return self.start + self.duration


@dataclass(frozen=True)
class Part:
    """`program` is a General MIDI instrument from 0; `pedals` are the quarters at which the pedal goes down or up."""

    program: int
    notes: tuple[Note, ...]
    pedals: tuple[tuple[float, bool], ...] = ()


@dataclass(frozen=True)
class Score:
    """A song with its repeats written out.

    `voice` is sung by one person; its notes follow one another. `tempi` are quarters at which the tempo changes, and
    quarters a minute from there on.
    """

    title: str | None
    composer: str | None
    lyricist: str | None
    rights: str | None
    voice: Part
    accompaniment: tuple[Part, ...]
    tempi: tuple[tuple[float, float], ...]

    def seconds(self, quarters: float) -> float:
        """When a moment of the score is played.

        >>> Score(None, None, None, None, Part(0, ()), (), ((0.0, 60.0), (4.0, 120.0))).seconds(6.0)
        5.0
        """
        total = 0.0
        for (start, tempo), (stop, _) in pairwise([*self.tempi, (float("inf"), 0.0)]):
            total += max(0.0, min(quarters, stop) - start) * 60 / tempo
        return total

    @property
    def end(self) -> float:
        """The end of the last note, in quarters."""
        return max(note.end for part in (self.voice, *self.accompaniment) for note in part.notes)


def read_score(data: bytes, name: str, verse: int = 0) -> Score:
    """The song in the bytes of a .mxl or .musicxml file; `name` is its name in messages.

    A repeat is played with the next verse. Of a song without repeats that has several verses, or translations,
    `verse` says which is sung: a number from 0, counted round among those that fit the notes. Raises UserError
    for what is not MusicXML, has nobody who sings or no words, or has more syllables than notes.
    """
    root = read_root(data, name)
    try:
        parts = [read_measures(part) for part in root.findall("part")]
        instruments = programs(root)
    except (ValueError, KeyError, ArithmeticError) as error:
        raise UserError(f"{name} is damaged: it has a measure that cannot be read", "export it again") from error
    if not any(measure.notes for part in parts for measure in part):
        raise UserError(f"{name} has no notes", "check what the file is")
    sung = max(range(len(parts)), key=lambda at: sum(len(note.lyrics) for bar in parts[at] for note in bar.notes))
    voice = _singer(parts[sung])
    played = _Playing(parts, name)
    chosen = _verse(voice, verse, repeated=played.repeated, name=name)
    return Score(
        title=_text(root.findtext("movement-title") or root.findtext("work/work-title")),
        composer=person(root.findtext("identification/creator[@type='composer']")),
        lyricist=_text(root.findtext("identification/creator[@type='lyricist']")),
        rights=_text(root.findtext("identification/rights")),
        voice=Part(instruments[sung], _sung(played.notes(voice, chosen), name)),
        accompaniment=tuple(
            Part(instruments[at], _merged(played.notes(part, None)), played.pedals(part))
            for at, part in enumerate(parts)
            if at != sung
        ),
        tempi=played.tempi(),
    )


def person(text: str | None) -> str | None:
    """A name without years and remarks in brackets, given name first.

    >>> person("Butterworth, George (1885-1916)")
    'George Butterworth'
    """
    name = _text(re.sub(r"\([^)]*\)|\[[^\]]*\]|\d{4}.*", " ", text or ""))
    if name and name.count(",") == 1:
        name = " ".join(reversed([part.strip() for part in name.split(",")]))
    return name or None


def _text(text: str | None) -> str | None:
    return " ".join((text or "").split()) or None


def _singer(part: list[Measure]) -> list[Measure]:
    """The part without other voices than the one with most of the words, which goes on where it rests."""
    words: Counter[str] = Counter()
    for measure in part:
        for note in measure.notes:
            words[note.voice] += 1 + 1000 * len(note.lyrics)
    main = max(words, key=lambda voice: words[voice], default="1")

    def kept(measure: Measure) -> list[WrittenNote]:
        first = [note for note in measure.notes if note.voice == main]
        return first if any(note.pitch is not None for note in first) else measure.notes

    return [replace(measure, notes=kept(measure)) for measure in part]


def _verse(voice: list[Measure], wanted: int, *, repeated: bool, name: str) -> int | None:
    """The number of the verse that is sung all through; None where each pass has its own."""
    counts = Counter(number for measure in voice for note in measure.notes for number in note.lyrics)
    if not counts:
        raise UserError(f"{name} has no words to sing", "take a song with lyrics")
    if repeated:
        return None
    main = max(counts, key=lambda number: (counts[number], -number))
    fitting = sorted(number for number in counts if counts[number] >= _SHARE_OF_A_VERSE * counts[main])
    return fitting[wanted % len(fitting)]


@dataclass(frozen=True)
class _Sounding:
    """A note as it is played, before ties are joined."""

    note: Note
    tied_on: bool
    rest: bool


class _Playing:
    """The measures of all parts in the order in which they are played."""

    def __init__(self, parts: Sequence[list[Measure]], name: str) -> None:
        longest = max(parts, key=len)
        self._lengths = [max(part[at].length for part in parts if at < len(part)) for at in range(len(longest))]
        self._order = list(_order(longest))
        self._parts = parts
        self._starts: list[Fraction] = []
        now = Fraction(0)
        for at, _ in self._order:
            self._starts.append(now)
            now += self._lengths[at]
        if now > _MAX_QUARTERS:
            raise UserError(f"{name} is {float(now):.0f} quarters long", f"{_MAX_QUARTERS} are the most")
        self.repeated = any(turn > 1 for _, turn in self._order)

    def notes(self, part: list[Measure], verse: int | None) -> list[_Sounding]:
        """Notes and rests by their start; with no `verse`, of repeated measures the words of the turn."""
        found: list[_Sounding] = []
        for at, turn, start in self._turns(part):
            numbers = {number for note in part[at].notes for number in note.lyrics}
            number = verse or (turn if turn in numbers else min(numbers, default=1))
            for note in part[at].notes:
                if note.duration > 0:
                    sounding = Note(
                        float(start + note.start),
                        float(note.duration),
                        note.pitch or 0,
                        note.velocity,
                        note.lyrics.get(number),
                    )
                    found.append(_Sounding(sounding, note.tied_on, note.pitch is None))
        return sorted(found, key=lambda each: each.note.start)

    def pedals(self, part: list[Measure]) -> tuple[tuple[float, bool], ...]:
        return tuple(
            (float(start + when), down) for at, _, start in self._turns(part) for when, down in part[at].pedals
        )

    def tempi(self) -> tuple[tuple[float, float], ...]:
        marks: dict[float, float] = {}
        for part in self._parts:
            for at, _, start in self._turns(part):
                marks |= {float(start + when): tempo for when, tempo in part[at].tempi}
        first = marks[min(marks)] if marks else _USUAL_TEMPO
        return ((0.0, marks.pop(0.0, first)), *sorted(marks.items()))

    def _turns(self, part: list[Measure]) -> Iterator[tuple[int, int, Fraction]]:
        """Index of the measure, how often it is played with this time, and its start."""
        for (at, turn), start in zip(self._order, self._starts, strict=True):
            if at < len(part):
                yield at, turn, start


def _order(measures: list[Measure]) -> Iterator[tuple[int, int]]:
    """Indices of measures as they are played, each with the number of the turn, from 1.

    Repeats and their endings are heeded; signs such as da capo are not.
    """
    at, opened, turn = 0, 0, 1
    while at < len(measures):
        measure = measures[at]
        if measure.opens and at != opened:
            opened, turn = at, 1
        played = not measure.endings or turn in measure.endings
        if played:
            yield at, turn
        if played and measure.closes and turn < _times(measures, at):
            at, turn = opened, turn + 1
            continue
        at += 1
        last_ending = measure.endings and (at == len(measures) or not measures[at].endings)
        if last_ending or (measure.closes and not measure.endings):
            opened, turn = at, 1


def _times(measures: list[Measure], at: int) -> int:
    """How often what is repeated to the end of this measure is played: the highest of the endings from here on."""
    if not measures[at].endings:
        return measures[at].closes
    run = takewhile(lambda measure: bool(measure.endings), measures[at:])
    return max(number for measure in run for number in measure.endings)


def _merged(played: list[_Sounding]) -> tuple[Note, ...]:
    """Notes with tied ones as one."""
    notes: list[Note] = []
    last: dict[int, int] = {}
    for each in played:
        if each.rest:
            continue
        before = last.get(each.note.pitch)
        if each.tied_on and before is not None and abs(notes[before].end - each.note.start) < 1e-6:
            notes[before] = replace(notes[before], duration=each.note.end - notes[before].start)
        else:
            last[each.note.pitch] = len(notes)
            notes.append(each.note)
    return tuple(notes)


def _sung(played: list[_Sounding], name: str) -> tuple[Note, ...]:
    """One note after another: of a chord the highest, and what is tied and has no syllable of its own is one note."""
    places = {each.note.start for each in played if not each.rest}
    lost = [each for each in played if each.rest and each.note.syllable and each.note.start not in places]
    if lost:
        syllables = sum(each.note.syllable is not None for each in played)
        raise UserError(
            f"{name} has more syllables ({syllables}) than notes to sing them on ({syllables - len(lost)})",
            "write each syllable at a note",
        )
    notes: list[Note] = []
    for each in sorted(played, key=lambda one: (one.note.start, -one.note.pitch)):
        if each.rest:
            continue
        note = each.note
        if notes and note.start < notes[-1].end - 1e-6:
            if note.start <= notes[-1].start + 1e-6:  # the same moment: a lower note
                notes[-1] = replace(notes[-1], syllable=notes[-1].syllable or note.syllable)
                continue
            notes[-1] = replace(notes[-1], duration=note.start - notes[-1].start)
        tied = each.tied_on and note.syllable is None and notes
        if tied and notes[-1].pitch == note.pitch and abs(notes[-1].end - note.start) < 1e-6:
            notes[-1] = replace(notes[-1], duration=note.end - notes[-1].start)
        else:
            notes.append(note)
    if not any(note.syllable for note in notes):
        raise UserError(f"{name} has no words to sing", "take a song with lyrics")
    return tuple(notes)
