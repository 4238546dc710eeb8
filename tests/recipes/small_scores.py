"""Small songs in MusicXML, written on the spot."""

from collections.abc import Sequence

Lyric = str | None
SungAs = tuple[
    str, int, Lyric
]  # step and octave, quarters, and a syllable: "Ro-" goes on, "-se" ends, "a" stands alone


def note(sung: SungAs, *, verses: Sequence[Lyric] = (), more: str = "") -> str:
    """A note; `pitch` is such as "A4", or "" for a rest."""
    pitch, quarters, first = sung
    where = f"<pitch><step>{pitch[0]}</step><octave>{pitch[1:]}</octave></pitch>" if pitch else "<rest/>"
    words = "".join(lyric(text, number) for number, text in enumerate((first, *verses), 1) if text)
    return f"<note>{where}<duration>{quarters}</duration><voice>1</voice>{more}{words}</note>"


def lyric(text: str, number: int) -> str:
    kind = {(0, 0): "single", (0, 1): "begin", (1, 1): "middle", (1, 0): "end"}[
        (int(text.startswith("-")), int(text.endswith("-")))
    ]
    return f'<lyric number="{number}"><syllabic>{kind}</syllabic><text>{text.strip("-")}</text></lyric>'


def measure(*content: str) -> str:
    return f"<measure>{''.join(content)}</measure>"


def barline(repeat: str = "", *, ending: str = "", kind: str = "") -> str:
    volta = f'<ending number="{ending}" type="{kind}"/>' if ending else ""
    return f"<barline>{volta}{f'<repeat direction={chr(34)}{repeat}{chr(34)}/>' if repeat else ''}</barline>"


def tempo(quarters_a_minute: int) -> str:
    return f'<direction><sound tempo="{quarters_a_minute}"/></direction>'


def score(
    voice: Sequence[str], piano: Sequence[str] = (), *, title: str = "Lied", composer: str = "Ada (1815)"
) -> bytes:
    """A score of a voice and perhaps a piano, from their measures; a quarter is one division."""
    names = ["P1", "P2"] if piano else ["P1"]
    listed = "".join(
        f'<score-part id="{name}"><midi-instrument><midi-program>1</midi-program></midi-instrument></score-part>'
        for name in names
    )
    parts = "".join(
        f'<part id="{name}">{"".join(measures)}</part>' for name, measures in zip(names, (voice, piano), strict=False)
    )
    return (
        f"<score-partwise><work><work-title>{title}</work-title></work><identification>"
        f'<creator type="composer">{composer}</creator><rights>(CC0)</rights></identification>'
        f"<part-list>{listed}</part-list>{parts}</score-partwise>"
    ).encode()


def rose() -> bytes:
    """Five seconds for a voice and a piano."""
    words = [("A4", 1, "Ro-"), ("B4", 1, "-se"), ("C5", 2, "rot,"), ("", 2, None), ("A4", 1, "mein"), ("D5", 2, "Herz")]
    voice = measure(tempo(120), *(note(each) for each in words))
    piano = measure(*(note((pitch, 1, None)) for pitch in ("A2", "E3", "A3", "E3", "A2", "E3", "A3", "E3", "A2")))
    return score([voice], [piano])
