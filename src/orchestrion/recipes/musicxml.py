"""MusicXML (W3C, partwise) as it is written: the measures of each part, before anything is repeated."""

import io
import lzma
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from fractions import Fraction
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from orchestrion.errors import UserError

_MAX_BYTES = 64_000_000  # of a score unpacked; the longest songs have a twentieth of that
_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_VERSE_MARK = re.compile(r"^\s*(\[\s*\d+\s*[.)]?\s*\]|\d+\s*[.):])[\s\u203f]*")  # "1. When", "[2.] Er"
_DURATION = re.compile(r"\d{1,9}(\.\d{0,9})?")  # more digits, or an exponent, would take hours to compute with
_FORTE = 90  # the MIDI velocity that MusicXML's dynamics are percentages of
_USUAL_VELOCITY = 72


@dataclass(frozen=True)
class Syllable:
    """What is sung on a note; `begins` and `ends` say whether it is the first and the last of its word."""

    text: str
    begins: bool
    ends: bool


def read_root(data: bytes, name: str) -> Element:
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
            container = ElementTree.fromstring(_read_small(archive, "META-INF/container.xml", name))
            path = next(each.get("full-path", "") for each in container.iter() if each.tag.endswith("rootfile"))
            return _read_small(archive, path, name)
    except (
        zipfile.BadZipFile,
        EOFError,
        KeyError,
        StopIteration,
        OSError,
        NotImplementedError,
        RuntimeError,
        lzma.LZMAError,
        zlib.error,
    ) as error:
        raise UserError(f"{name} is damaged: it cannot be unpacked", "get the file again") from error


def _read_small(archive: zipfile.ZipFile, path: str, name: str) -> bytes:
    if archive.getinfo(path).file_size > _MAX_BYTES:
        raise UserError(f"{name} unpacks to more than {_MAX_BYTES // 1_000_000} MB", "check what the file is")
    return archive.read(path)


def programs(root: Element) -> list[int]:
    """The General MIDI instrument of each part, from 0; ValueError for what is no number."""
    found = {
        part.get("id"): int(part.findtext("midi-instrument/midi-program") or "1") - 1
        for part in root.findall("part-list/score-part")
    }
    return [min(127, max(0, found.get(part.get("id"), 0))) for part in root.findall("part")]


@dataclass
class WrittenNote:
    """A note as it is written in its measure; `lyrics` by the number of the verse."""

    start: Fraction
    duration: Fraction
    pitch: int | None  # None is a rest
    voice: str
    velocity: int
    tied_on: bool
    lyrics: dict[int, Syllable]


@dataclass
class Measure:
    """A measure of a part; times in quarters from its start."""

    length: Fraction = Fraction(0)
    notes: list[WrittenNote] = field(default_factory=list)
    tempi: list[tuple[Fraction, float]] = field(default_factory=list)
    pedals: list[tuple[Fraction, bool]] = field(default_factory=list)
    opens: bool = False
    closes: int = 0  # how often what is repeated to here is played; 0: this is not the end of a repeat
    endings: frozenset[int] = frozenset()  # the passes for which an ending is here


def read_measures(part: Element) -> list[Measure]:
    """The measures of a part; ValueError, KeyError or ArithmeticError for one that cannot be read."""
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

    def measure(self, element: Element) -> Measure:
        measure = Measure()
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
        duration = (element.findtext("duration") or "0").strip()
        if not _DURATION.fullmatch(duration):
            raise ValueError(f"there is no duration {duration[:20]!r}")
        return Fraction(duration) / self._divisions

    def _note(self, measure: Measure, element: Element, start: Fraction) -> None:
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
        written = WrittenNote(
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

    def _direction(self, measure: Measure, element: Element, now: Fraction) -> None:
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

    def _barline(self, measure: Measure, element: Element) -> None:
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
        written = "".join(text.text or "" for text in lyric.findall("text"))
        text = "‿".join(_VERSE_MARK.sub("", written).split())
        kind = lyric.findtext("syllabic") or "single"
        if any(letter.isalpha() for letter in text):
            found[number] = Syllable(text, kind in ("single", "begin"), kind in ("single", "end"))
    return found
