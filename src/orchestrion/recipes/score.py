"""Songs in MusicXML (W3C, partwise): who sings what when, and what accompanies it."""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise, takewhile
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from orchestrion.errors import UserError

_MAX_BYTES = 64_000_000  # of a score unpacked; the longest songs have a twentieth of that
_MAX_QUARTERS = 20_000
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_FORTE = 90  # the MIDI velocity that MusicXML's dynamics are percentages of
_USUAL_VELOCITY = 72
_USUAL_TEMPO = 90.0
_SHARE_OF_A_VERSE = 0.8  # of the first verse's syllables, to be sung in its place


@dataclass(frozen=True)
class Syllable:
    """What is sung on a note; `begins` and `ends` say whether it is the first and the last of its word."""

    text: str
    begins: bool
    ends: bool


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
    root = _root(data, name)
    try:
        parts = [_measures(part) for part in root.findall("part")]
    except (ValueError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise UserError(f"{name} is damaged: it has a measure that cannot be read", "export it again") from error
    if not any(measure.notes for part in parts for measure in part):
        raise UserError(f"{name} has no notes", "check what the file is")
    sung = max(range(len(parts)), key=lambda at: sum(len(note.lyrics) for bar in parts[at] for note in bar.notes))
    voice = _singer(parts[sung])
    programs = _programs(root)
    played = _Playing(parts, name)
    chosen = _verse(voice, verse, repeated=played.repeated, name=name)
    return Score(
        title=_text(root.findtext("movement-title") or root.findtext("work/work-title")),
        composer=person(root.findtext("identification/creator[@type='composer']")),
        lyricist=_text(root.findtext("identification/creator[@type='lyricist']")),
        rights=_text(root.findtext("identification/rights")),
        voice=Part(programs[sung], _sung(played.notes(voice, chosen), name)),
        accompaniment=tuple(
            Part(programs[at], _merged(played.notes(part, None)), played.pedals(part))
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


def _root(data: bytes, name: str) -> Element:
    """The root of a score; one that is packed is unpacked."""
    try:
        root = ElementTree.fromstring(_unpacked(data, name) if data.startswith(b"PK") else data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{name} is not MusicXML, or is cut short", "export it again") from error
    if root.tag != "score-partwise":
        raise UserError(f"{name} is not a partwise MusicXML score", "export it again as MusicXML")
    return root


def _unpacked(data: bytes, name: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            path = next(each.get("full-path", "") for each in container.iter() if each.tag.endswith("rootfile"))
            if archive.getinfo(path).file_size > _MAX_BYTES:
                raise UserError(f"{name} unpacks to more than {_MAX_BYTES // 1_000_000} MB", "check what the file is")
            return archive.read(path)
    except (zipfile.BadZipFile, KeyError, StopIteration, OSError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{name} is damaged: it cannot be unpacked", "get the file again") from error


def _programs(root: Element) -> list[int]:
    found = {
        part.get("id"): int(part.findtext("midi-instrument/midi-program") or "1") - 1
        for part in root.findall("part-list/score-part")
    }
    return [min(127, max(0, found.get(part.get("id"), 0))) for part in root.findall("part")]


@dataclass
class _Written:
    """A note as it is written in its measure; `lyrics` by the number of the verse."""

    start: Fraction
    duration: Fraction
    pitch: int | None  # None is a rest
    voice: str
    velocity: int
    tied_on: bool
    lyrics: dict[int, Syllable]


@dataclass
class _Measure:
    length: Fraction = Fraction(0)
    notes: list[_Written] = field(default_factory=list)
    tempi: list[tuple[Fraction, float]] = field(default_factory=list)
    pedals: list[tuple[Fraction, bool]] = field(default_factory=list)
    opens: bool = False
    closes: int = 0  # how often what is repeated to here is played; 0: this is not the end of a repeat
    endings: frozenset[int] = frozenset()  # the passes for which an ending is here


def _measures(part: Element) -> list[_Measure]:
    reader = _PartReader()
    return [reader.measure(measure) for measure in part.findall("measure")]


class _PartReader:
    """Measures of a part in a row, with what carries over from one to the next."""

    def __init__(self) -> None:
        self._divisions = 1
        self._transpose = 0
        self._velocity = _USUAL_VELOCITY
        self._endings: frozenset[int] = frozenset()
        self._waiting: dict[int, Syllable] = {}  # written at a grace note

    def measure(self, element: Element) -> _Measure:
        measure = _Measure()
        now = last = Fraction(0)
        for each in element:
            match each.tag:
                case "attributes":
                    self._divisions = int(each.findtext("divisions") or self._divisions)
                    if (moved := each.find("transpose")) is not None:
                        octaves = int(moved.findtext("octave-change") or 0)
                        self._transpose = int(moved.findtext("chromatic") or 0) + 12 * octaves
                case "backup":
                    now -= self._length(each)
                case "forward":
                    now += self._length(each)
                case "note":
                    start = last if each.find("chord") is not None else now
                    self._note(measure, each, start)
                    last, now = start, start + self._length(each)
                case "direction" | "sound":
                    self._direction(measure, each, now)
                case "barline":
                    self._barline(measure, each)
            measure.length = max(measure.length, now)
        return measure

    def _length(self, element: Element) -> Fraction:
        return Fraction(element.findtext("duration") or "0") / self._divisions

    def _note(self, measure: _Measure, element: Element, start: Fraction) -> None:
        lyrics = {} if element.find("chord") is not None else _lyrics(element)
        if element.find("grace") is not None or element.find("cue") is not None:
            self._waiting |= lyrics
            return
        pitch = element.find("pitch")
        number = None
        if pitch is not None:
            step = _STEPS[(pitch.findtext("step") or "").strip()]
            altered = round(float(pitch.findtext("alter") or 0))
            number = 12 * (int(pitch.findtext("octave") or "") + 1) + step + altered + self._transpose
        if number is not None and not 0 <= number <= 127:
            raise ValueError(f"there is no pitch {number}")
        dynamics = element.get("dynamics")
        ties = [tie.get("type") for tie in element.findall("tie")]
        written = _Written(
            start=start,
            duration=self._length(element),
            pitch=number,
            voice=element.findtext("voice") or "1",
            velocity=_velocity(dynamics) if dynamics else self._velocity,
            tied_on="stop" in ties,
            lyrics=self._waiting | lyrics,
        )
        self._waiting = {}
        measure.notes.append(written)

    def _direction(self, measure: _Measure, element: Element, now: Fraction) -> None:
        sound = element if element.tag == "sound" else element.find("sound")
        if sound is not None and (dynamics := sound.get("dynamics")):
            self._velocity = _velocity(dynamics)
        if sound is not None and (tempo := float(sound.get("tempo") or 0)) > 0:
            measure.tempi.append((now, min(max(tempo, 10.0), 400.0)))
        for pedal in element.findall("direction-type/pedal"):
            kind = pedal.get("type")
            if kind in ("stop", "change"):
                measure.pedals.append((now, False))
            if kind in ("start", "change"):
                measure.pedals.append((now, True))

    def _barline(self, measure: _Measure, element: Element) -> None:
        ending, repeat = element.find("ending"), element.find("repeat")
        if ending is not None and ending.get("type") == "start":
            self._endings = frozenset(int(number) for number in re.findall(r"\d+", ending.get("number") or ""))
        if repeat is not None:
            measure.opens |= repeat.get("direction") == "forward"
            if repeat.get("direction") == "backward":
                measure.closes = min(9, max(2, int(repeat.get("times") or 2)))
        if self._endings:
            measure.endings = self._endings
        if ending is not None and ending.get("type") in ("stop", "discontinue"):
            self._endings = frozenset()


def _velocity(dynamics: str) -> int:
    return round(min(127.0, max(10.0, float(dynamics) * _FORTE / 100)))


def _lyrics(element: Element) -> dict[int, Syllable]:
    found: dict[int, Syllable] = {}
    for lyric in element.findall("lyric"):
        number = int((re.findall(r"\d+", lyric.get("number") or "") or ["1"])[-1])
        text = "‿".join("".join(text.text or "" for text in lyric.findall("text")).split())
        kind = lyric.findtext("syllabic") or "single"
        if any(letter.isalpha() for letter in text):
            found[number] = Syllable(text, kind in ("single", "begin"), kind in ("single", "end"))
    return found


def _singer(part: list[_Measure]) -> list[_Measure]:
    """The part without other voices than the one with most of the words, which goes on where it rests."""
    words: Counter[str] = Counter()
    for measure in part:
        for note in measure.notes:
            words[note.voice] += 1 + 1000 * len(note.lyrics)
    main = max(words, key=lambda voice: words[voice], default="1")

    def kept(measure: _Measure) -> list[_Written]:
        first = [note for note in measure.notes if note.voice == main]
        return first if any(note.pitch is not None for note in first) else measure.notes

    return [replace(measure, notes=kept(measure)) for measure in part]


def _verse(voice: list[_Measure], wanted: int, *, repeated: bool, name: str) -> int | None:
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

    def __init__(self, parts: Sequence[list[_Measure]], name: str) -> None:
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

    def notes(self, part: list[_Measure], verse: int | None) -> list[_Sounding]:
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

    def pedals(self, part: list[_Measure]) -> tuple[tuple[float, bool], ...]:
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

    def _turns(self, part: list[_Measure]) -> Iterator[tuple[int, int, Fraction]]:
        """Index of the measure, how often it is played with this time, and its start."""
        for (at, turn), start in zip(self._order, self._starts, strict=True):
            if at < len(part):
                yield at, turn, start


def _order(measures: list[_Measure]) -> Iterator[tuple[int, int]]:
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


def _times(measures: list[_Measure], at: int) -> int:
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
