"""A report holds every figure twice, for people and for programs, and asks no other host for anything."""

import json
import re
from pathlib import Path

from orchestrion.evaluate.interval import Estimate
from orchestrion.evaluate.report import FIGURES, Plot, Section, Sound, Table, write_report

SECTION = Section(
    "A <part>",
    "What it says.\n\nAnd more.",
    tables=(Table(("", "found", "count"), (("mini & co", Estimate(1.234, 1.0, 1.5), 3), ("none", None, 0))),),
    plots=(Plot("Bits", "place", "bits", (("level 0", (0.0, 1.0), (Estimate(7.0, 6.5, 7.5),) * 2),)),),
    sounds=(Sound("Song 1", "songs/song-1.flac"),),
)


def test_the_page_shows_figures_with_intervals_and_words_as_they_are(tmp_path: Path) -> None:
    page = write_report(tmp_path / "report", "How good?", "Judged.", [SECTION]).read_text()
    assert "1.23 <small>(1.00 – 1.50)</small>" in page
    assert "A &lt;part&gt;" in page and "mini &amp; co" in page
    assert 'src="songs/song-1.flac"' in page
    assert page.count("<p>") == 4


def test_the_page_asks_no_other_host(tmp_path: Path) -> None:
    page = write_report(tmp_path, "How good?", "Judged.", [SECTION]).read_text()
    loaded = re.findall(r'(?:src|href)="([^"#][^"]*)"|url\((?!#)([^)]*)\)|@import', page)
    assert loaded == [("songs/song-1.flac", "")]


def test_the_same_figures_are_in_the_json(tmp_path: Path) -> None:
    write_report(tmp_path, "How good?", "Judged.", [SECTION])
    (section,) = json.loads((tmp_path / FIGURES).read_text())["sections"]
    (table,) = section["tables"]
    assert table["rows"] == [["mini & co", {"value": 1.234, "low": 1.0, "high": 1.5}, 3], ["none", None, 0]]
    assert section["plots"][0]["lines"][0]["values"][1]["value"] == 7.0


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = (write_report(tmp_path / name, "How good?", "Judged.", [SECTION]) for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()
