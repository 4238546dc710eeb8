"""The page in a browser, against the service as it runs, with the model that ships."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from orchestrion.library.provenance import read_made

CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = {"desktop": (1280, 900), "phone": (375, 812)}
LYRICS = "The harbour light is low tonight\nand every ship is sleeping"
PICTURES = os.environ.get("ORCHESTRION_PICTURES")
"""A folder for screenshots, which docs/pictures has from here."""
PATIENCE_MILLISECONDS = 90_000

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: apt-get install chromium"),
    pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: `scripts/page check` gets it, and runs this"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Studio that runs, on a library of its own."""
    library = tmp_path_factory.mktemp("library")
    options = ["studio", "--port", "0", "--no-browser", "--library", str(library), "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrion", *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            yield found[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=CHROMIUM)
        yield opened
        opened.close()


class Visit:
    """Someone at the page, and what must not happen: errors in the console, requests to elsewhere, failed ones."""

    def __init__(self, page: Any, address: str, width: str = "desktop") -> None:
        self.page, self.address, self.width = page, address, width
        self.wrong: list[str] = []
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.on("console", lambda told: told.type in ("error", "warning") and self.wrong.append(told.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("response", lambda answer: answer.status >= 400 and self.wrong.append(f"{answer.status} {answer.url}"))
        page.on("request", self._see)

    def _see(self, request: Any) -> None:
        if not request.url.startswith((self.address, f"blob:{self.address}", "data:")):
            self.wrong.append(f"asked {request.url}")

    def button(self, name: str, *, exact: bool = True) -> Any:
        return self.page.get_by_role("button", name=name, exact=exact)

    def go(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).click()

    @property
    def song(self) -> str:
        """The song whose page is open."""
        song: str = self.page.url.split("/song/")[1].split("/")[0]
        return song

    def compose(self, seconds: float, takes: int, *, seed: int, length: str = "Seconds", **fields: str) -> None:
        for name, value in {**fields, length: str(seconds), "Takes": str(takes)}.items():
            self.page.get_by_label(name, exact=True).fill(value)
        self.page.get_by_label("Seed", exact=True).fill(str(seed))
        self.button("Compose" if takes == 1 else f"Compose {takes} takes").click()

    def heard(self, take: int) -> None:
        """Wait until a take can be heard."""
        waiting, chosen = (
            f"button:enabled[aria-label$='hoose: take {take}']",
            f"button[aria-label='Chosen: take {take}']",
        )
        self.page.locator(f"{waiting}, {chosen}").wait_for()

    def made(self) -> None:
        """Wait until nothing of the song is being made."""
        asked = (
            "song => fetch(`/api/songs/${song}`).then(told => told.json())"
            ".then(told => told.tree.map(one => one.state))"
        )
        for _ in range(PATIENCE_MILLISECONDS // 100):
            states = self.page.evaluate(asked, self.song)
            if set(states) == {"done"}:
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(states)

    def moves_on(self) -> None:
        """Wait until the moment that is played moves on."""
        clock = self.page.get_by_test_id("time")
        self.expect(clock).not_to_have_text(clock.inner_text())

    def has_takes(self, count: int) -> None:
        self.expect(self.page.locator("svg g.take")).to_have_count(count)

    def expect(self, locator: Any) -> Any:
        playwright.expect.set_options(timeout=PATIENCE_MILLISECONDS)
        return playwright.expect(locator)

    def download(self, name: str, folder: Path) -> Path:
        self.page.get_by_text("Download", exact=True).click()
        with self.page.expect_download() as began:
            self.page.get_by_role("link", name=name, exact=True).click()
        self.page.get_by_text("Download", exact=True).click()
        path = folder / began.value.suggested_filename
        began.value.save_as(path)
        return path

    def picture(self, name: str) -> None:
        """Take a screenshot, where somebody wants them: for the documentation."""
        if PICTURES:
            self.page.evaluate("scrollTo(0, 0)")
            self.page.screenshot(path=Path(PICTURES) / f"studio-{name}.png")

    def accessible(self) -> None:
        """No serious violation of what axe checks."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run().then(found => found.violations)")
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert not serious, json.dumps([(each["id"], each["nodes"][0]["html"]) for each in serious], indent=1)


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Visit]:
    width, height = WIDTHS[request.param]
    with contextlib.closing(browser.new_context(viewport={"width": width, "height": height})) as context:
        found = Visit(context.new_page(), address, request.param)
        found.page.goto(address)
        yield found
        assert not found.wrong


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_song_is_composed_chosen_continued_branched_undone_repainted_and_found(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.compose(2, 3, seed=7, Title="Harbour light", Artist="Mattias Westlund", Genres="orchestral", Lyrics=LYRICS)
    for take in (1, 2, 3):
        visit.heard(take)
    visit.has_takes(3)
    assert fits(page)

    visit.button("Play").first.click()
    visit.moves_on()
    page.keyboard.press("2")
    page.locator("li.heard[data-take]").get_by_text("Take 2").wait_for()
    visit.moves_on()
    visit.button("Choose: take 2").click()
    visit.button("Chosen: take 2").wait_for()

    page.get_by_label("For seconds").fill("1")
    page.get_by_label("Takes", exact=True).fill("1")
    visit.button("Continue").last.click()
    visit.heard(4)
    visit.has_takes(4)

    page.get_by_label("Go on from second").fill("1.5")
    page.get_by_label("Go on from second").press("Tab")
    page.get_by_text("Change artist, genres, lyrics").click()
    page.get_by_label("Artist").fill("Ryan Reilly")
    visit.button("Branch here").click()
    visit.heard(5)
    page.get_by_text("Ryan Reilly · orchestral").wait_for()
    visit.has_takes(5)

    visit.button("Undo").click()
    visit.has_takes(4)
    visit.button("Redo").click()
    visit.has_takes(5)
    page.locator("li.heard[data-take]").get_by_text("Take 5").wait_for()

    visit.button("Repaint").first.click()
    page.get_by_label("From second").fill("0.5")
    page.get_by_label("To second").fill("1.5")
    page.get_by_label("To second").press("Tab")
    page.get_by_label("Takes", exact=True).fill("1")
    visit.button("Repaint").last.click()
    visit.heard(6)
    visit.has_takes(6)
    assert fits(page)

    visit.button("Refine take 6").click()
    visit.button("Refined").wait_for()
    visit.accessible()
    visit.picture(f"song-{visit.width}")

    for name, suffix in (("FLAC", ".flac"), ("MP3", ".mp3"), ("WAV", ".wav")):
        path = visit.download(name, tmp_path)
        made = read_made(path)
        assert path.suffix == suffix and made is not None
        assert made.request["origin"]["act"] == "repaint" and made.request["artist"] == "Ryan Reilly"
        assert soundfile.info(path).duration == pytest.approx(2.5, abs=0.2)

    page.get_by_text("What made it").click()
    page.get_by_text("repaint of").wait_for()
    visit.button("Star").click()
    visit.go("Library")
    page.get_by_label("Search").fill("sleeping ship")
    page.get_by_role("link", name="Harbour light").first.wait_for()
    visit.accessible()
    visit.picture(f"library-{visit.width}")
    page.get_by_label("Search").fill("xylophone")
    page.get_by_text("No song has that.").wait_for()


def test_a_part_of_a_song_comes_back(visit: Visit) -> None:
    page = visit.page
    visit.compose(3, 1, seed=1, Form="ABA")
    visit.heard(1)
    visit.button("Bring back").first.click()
    page.get_by_label("From second").fill("0.5")
    page.get_by_label("To second").fill("1.5")
    page.get_by_label("To second").press("Tab")
    page.get_by_label("Takes", exact=True).fill("1")
    visit.accessible()
    assert fits(page)
    inside = "[...document.querySelectorAll('form')].every(form => form.scrollWidth <= form.clientWidth)"
    assert page.evaluate(inside)
    visit.button("Bring back").last.click()
    visit.heard(2)
    page.get_by_text("What made it").click()
    page.get_by_text("0.5 s again at 3 s").wait_for()


def test_the_map_leads_to_composing(visit: Visit) -> None:
    page = visit.page
    visit.go("Map")
    visit.button("Ryan Reilly, artist").press("Enter")
    page.get_by_role("heading", name="Ryan Reilly").wait_for()
    page.get_by_label("Mix with").select_option("Tyler Johnson")
    page.get_by_label("How much of Tyler Johnson").fill("0.3")
    assert fits(page)
    visit.accessible()
    visit.picture(f"map-{visit.width}")
    visit.button("Compose here").click()
    assert page.get_by_label("Artist", exact=True).input_value() == "Ryan Reilly"
    page.get_by_text("Mixed with Tyler Johnson").wait_for()
    visit.accessible()
    visit.compose(1, 1, seed=3)
    visit.heard(1)
    page.get_by_text("What made it").click()
    page.get_by_text("Tyler Johnson, 30 %").wait_for()


def test_what_was_typed_stays_while_one_looks_elsewhere(visit: Visit) -> None:
    page = visit.page
    typed = {"Title": "Kept", "Lyrics": LYRICS, "Artist": "Ryan Reilly"}
    for name, value in typed.items():
        page.get_by_label(name, exact=True).fill(value)
    visit.go("Library")
    visit.go("Compose")
    for name, value in typed.items():
        visit.expect(page.get_by_label(name, exact=True)).to_have_value(value)
    visit.go("Map")
    visit.button("Tyler Johnson, artist").press("Enter")
    visit.button("Compose here").click()
    for name, value in {**typed, "Artist": "Tyler Johnson"}.items():
        visit.expect(page.get_by_label(name, exact=True)).to_have_value(value)


def test_a_song_of_any_length_is_gone_on_with(visit: Visit) -> None:
    visit.compose(1.117, 1, seed=4)
    visit.heard(1)
    assert visit.page.get_by_label("Go on from second").input_value() == "1.12"
    visit.page.get_by_label("For seconds").fill("1")
    visit.page.get_by_label("Takes", exact=True).fill("1")
    visit.button("Continue").last.click()
    visit.heard(2)


def test_a_song_begins_with_someones_own_sound(visit: Visit, tmp_path: Path) -> None:
    page, rate = visit.page, 22_050
    sine = 0.3 * np.sin(np.arange(round(3.17 * rate)) * 2 * np.pi * 220 / rate)  # the page shows it as 3.2 s
    soundfile.write(tmp_path / "hum.wav", sine, rate)
    page.get_by_label("File of your own sound").set_input_files(tmp_path / "hum.wav")
    page.get_by_text("hum.wav").wait_for()
    page.get_by_label("to seconds").fill("1.5")
    page.get_by_label("to seconds").press("Tab")
    assert fits(page)
    visit.compose(1, 1, seed=5, length="More seconds", Title="Hummed")
    visit.heard(1)
    assert "0:02.5" in page.get_by_test_id("time").inner_text()
    assert fits(page)


def test_what_is_wrong_is_said_in_words(browser: Any, address: str) -> None:
    with contextlib.closing(browser.new_context()) as context:
        visit = Visit(context.new_page(), address)
        visit.page.goto(address)
        visit.button("Play").first.wait_for(state="detached")
        visit.page.locator("#artists option").first.wait_for(state="attached")
        visit.compose(1, 1, seed=1, Artist="Nobody Known")
        visit.page.get_by_role("alert").get_by_text("no artist called", exact=False).wait_for()
        visit.expect(visit.button("Compose")).to_be_focused()
        visit.page.goto(f"{address}#/song/no-such-song")
        visit.page.get_by_role("heading", name="This song is not here").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_used_by_everyone(browser: Any, address: str, scheme: str) -> None:
    with contextlib.closing(browser.new_context(color_scheme=scheme)) as context:
        visit = Visit(context.new_page(), address)
        for place in ("compose", "library", "map"):
            visit.page.goto(f"{address}#/{place}")
            visit.page.get_by_role("heading", level=1).wait_for()
            visit.accessible()
            visit.picture(f"{place}-{scheme}")
        visit.page.locator("h1").click()
        visit.page.keyboard.press("?")
        visit.page.get_by_role("dialog").get_by_text("Play or pause").wait_for()
        visit.accessible()
        visit.page.keyboard.press("Escape")
        visit.button("Colours: as the system").click()
        visit.button("Colours: light").click()
        assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
        visit.accessible()
        assert not visit.wrong


def change(page: Any, song: str, **changes: Any) -> None:
    """Change a song as another window does."""
    page.evaluate(
        """([song, changes]) => fetch(`/api/songs/${song}`, {
            method: "PATCH", headers: {"content-type": "application/json"}, body: JSON.stringify(changes)
        }).then(answer => answer.json())""",
        [song, changes],
    )


def test_nothing_that_is_typed_is_lost(visit: Visit) -> None:
    page = visit.page
    visit.compose(1, 1, seed=8, Title="Typed")
    visit.heard(1)
    song = visit.song
    for tag in ("one", "two", "three"):
        page.get_by_label("Add a tag").fill(tag)
        page.get_by_label("Add a tag").press("Enter")
    for tag in ("one", "two", "three"):
        visit.button(f"Remove the tag {tag}").wait_for()

    notes = page.get_by_label("Notes")
    notes.fill("mine")
    change(page, song, notes="theirs", tags=["news"])
    visit.button("Remove the tag news").wait_for()
    visit.expect(notes).to_have_value("mine")
    notes.press("Tab")
    page.reload()
    visit.expect(notes).to_have_value("mine")

    notes.fill("typed and left")
    page.evaluate("location.hash = '#/map'")
    page.get_by_role("heading", name="Map", exact=True).wait_for()
    page.evaluate("song => { location.hash = `#/song/${song}` }", song)
    visit.expect(notes).to_have_value("typed and left")

    title = page.get_by_label("Title")
    for typed, kept in (("", "Typed"), ("   ", "Typed"), ("Renamed", "Renamed")):
        title.fill(typed)
        title.press("Tab")
        visit.expect(title).to_have_value(kept)
    visit.button("Play").first.click()
    title.fill("Renamed again")
    title.press("Tab")
    page.get_by_role("region", name="Player").get_by_role("link", name="Renamed again").wait_for()
    page.get_by_label("Go on from second").fill("99")
    page.get_by_label("Go on from second").press("Tab")
    visit.expect(page.get_by_label("Go on from second")).to_have_value("1")
    page.get_by_label("Go on from second").fill("98")
    page.get_by_label("Go on from second").press("Tab")
    visit.expect(page.get_by_label("Go on from second")).to_have_value("1")


def test_a_song_that_was_deleted_is_had_back(visit: Visit) -> None:
    page = visit.page
    page.on("dialog", lambda dialog: dialog.accept())
    visit.compose(1, 1, seed=14, Title="Thrown away")
    visit.heard(1)
    visit.made()
    visit.button("Delete this song").click()
    page.get_by_text("Deleted “Thrown away”").wait_for()
    visit.button("Undo").click()
    visit.expect(page.get_by_label("Title", exact=True)).to_have_value("Thrown away")
    visit.button("Delete this song").click()
    visit.button("Dismiss").click()
    page.get_by_text("Deleted songs").click()
    visit.button("Take back Thrown away").wait_for()
    assert fits(page)
    visit.accessible()
    visit.button("Take back Thrown away").click()
    page.locator("main > ul").get_by_role("link", name="Thrown away").first.wait_for()
    page.get_by_text("There are none.").wait_for()


def test_the_page_is_used_by_keys_alone(visit: Visit) -> None:
    page = visit.page
    visit.compose(1, 2, seed=9, Title="Keys")
    visit.heard(2)
    page.get_by_label("For seconds").fill("0.5")
    page.get_by_label("Takes", exact=True).fill("1")
    visit.button("Continue").last.focus()
    page.keyboard.press("Enter")
    visit.has_takes(3)
    visit.expect(page.get_by_role("form", name="Go on with take 3")).to_be_focused()
    visit.heard(3)

    page.locator("svg g.take[aria-label^='Take 2,']").press("Enter")
    page.get_by_role("slider", name="Moment of take 2").wait_for()
    at_the_song = page.url
    visit.go("Library")
    page.get_by_label("Search").wait_for()
    page.locator("h1").click()
    page.keyboard.press("/")
    visit.expect(page.get_by_label("Search")).to_be_focused()
    page.goto(at_the_song)
    taken = """(element, altKey) => !element.dispatchEvent(
        new KeyboardEvent("keydown", { key: "ArrowLeft", altKey, bubbles: true, cancelable: true })
    )"""
    slider = page.get_by_role("slider", name="Moment of take 2")
    assert slider.evaluate(taken, False) and not slider.evaluate(taken, True)


def test_the_link_of_the_player_leads_to_its_take(visit: Visit) -> None:
    page = visit.page
    visit.compose(1, 2, seed=10, Title="Linked")
    visit.heard(2)
    visit.button("Play").first.click()
    link = page.get_by_role("region", name="Player").get_by_role("link")
    link.wait_for()
    song = visit.song
    takes = page.locator("li[data-take]").evaluate_all("found => found.map(one => one.dataset.take)")
    page.evaluate("hash => { location.hash = hash }", f"#/song/{song}/{takes[1]}")
    page.get_by_role("form", name="Go on with take 2").wait_for()
    page.evaluate("hash => { location.hash = hash }", f"#/song/{song}/{takes[0]}")
    page.get_by_role("form", name="Go on with take 1").wait_for()


def test_tags_of_any_length_leave_room_for_the_rest(browser: Any, address: str) -> None:
    with contextlib.closing(browser.new_context(viewport={"width": 1280, "height": 900})) as context:
        visit = Visit(context.new_page(), address)
        page = visit.page
        page.goto(address)
        visit.compose(1, 1, seed=11, Title="Tagged")
        visit.heard(1)
        song = visit.song
        change(page, song, tags=[f"a tag that is number {number}" for number in range(8)])
        visit.go("Library")
        title = page.locator("main > ul").get_by_role("link", name="Tagged")
        title.wait_for()
        assert title.bounding_box()["width"] > 200
        change(page, song, tags=["m" * 60, "w" * 40])
        for width in (1280, 360):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(f"{address}#/library")
            page.reload()
            title.wait_for()
            page.get_by_label("Tag", exact=True).wait_for()
            assert fits(page)
            page.goto(f"{address}#/song/{song}")
            visit.button(f"Remove the tag {'m' * 60}").wait_for()
            assert fits(page)


def test_a_library_that_is_looked_at_is_not_asked_for_again_and_again(browser: Any, address: str) -> None:
    with contextlib.closing(browser.new_context()) as context:
        visit = Visit(context.new_page(), address)
        asked: list[str] = []
        visit.page.on("request", lambda request: "/api/songs?" in request.url and asked.append(request.url))
        visit.page.goto(f"{address}#/library")
        visit.page.get_by_role("heading", level=1).wait_for()
        visit.page.wait_for_timeout(2000)
        assert 1 <= len(asked) <= 6, "at the start, and when more is known of the songs"


def test_a_take_is_heard_read_and_told_of_as_it_grows(browser: Any, address: str) -> None:
    """The service of the song is the test, and its events break off again and again."""
    line = {"text": "la la", "start": None, "end": None, "words": []}
    sung = {**line, "start": 0.0, "end": 9.0, "words": [{"text": "la", "start": 0.0, "end": 9.0}]}
    take = {"id": "take-1", "parent": None, "number": 1, "act": "compose", "batch": "one", "start": 0.0, "stop": 20.0}
    take |= {"artist": None, "genres": [], "mix": None, "lyrics": "la la", "seed": 1, "span": None, "model": "mini"}
    take |= {"created": "2026-01-01T00:00:00.000+00:00", "chosen": False, "state": "running", "job": None}
    take |= {"levels": [1], "seconds": 20.0}
    song = {"id": "tune", "title": "Tune", "artist": None, "genres": [], "seconds": 20.0, "starred": False, "tags": []}
    song |= {"created": take["created"], "takes": 1, "heard": {"take": "take-1", "level": 1}, "lyrics": "la la"}
    song |= {"notes": "", "tree": [take], "can_undo": False, "can_redo": False}
    sound = io.BytesIO()
    soundfile.write(sound, np.zeros(20 * 8000), 8000, format="WAV")

    def songs(route: Any) -> None:
        made = take["state"] == "done"
        what = route.request.url.partition("/api/songs/tune")[2].partition("?")[0].rpartition("/")[2]
        if what == "audio":
            route.fulfill(body=sound.getvalue(), content_type="audio/wav")
        elif what == "peaks":
            route.fulfill(json={"seconds": 20.0, "sample_rate": 8000, "peaks": [0.5] * 100})
        elif what == "provenance":
            level = int(route.request.url.rpartition("level=")[2])
            route.fulfill(json={"made": {"notice": "Made", "level": level}, "engine": None})
        elif what == "lyrics":
            route.fulfill(json={"timed": made, "lines": [sung if made else line]})
        else:
            route.fulfill(json={**song, "revision": 1 + made + len(take["levels"])})

    with contextlib.closing(browser.new_context()) as context:
        visit = Visit(context.new_page(), address)
        page = visit.page
        status = json.dumps(context.request.get(f"{address}api/status").json())
        told = f"retry: 100\nevent: status\ndata: {status}\n\n"
        page.route("**/api/events", lambda route: route.fulfill(body=told, content_type="text/event-stream"))
        page.route("**/api/songs/tune**", songs)
        page.goto(f"{address}#/song/tune")
        words = page.get_by_role("region", name="Lyrics")
        words.get_by_text("la la").wait_for()

        visit.button("Play").first.click()
        player = page.get_by_role("region", name="Player")
        player.get_by_role("button", name="Pause").wait_for()
        player.get_by_role("slider").focus()
        page.keyboard.press("Space")
        player.get_by_role("button", name="Play", exact=True).wait_for()
        before = player.get_by_role("slider").evaluate("slider => slider.valueAsNumber")
        page.keyboard.press("ArrowRight")
        after = player.get_by_role("slider").evaluate("slider => slider.valueAsNumber")
        assert after == pytest.approx(before + 5, abs=0.02)

        take["state"] = "done"
        words.get_by_role("button", name="la").wait_for()
        visit.expect(words.locator(".sung")).to_have_count(1)

        take["levels"] = [0, 1]
        visit.button("Draft").click()
        page.get_by_text("What made it").click()
        record = page.locator("details dl")
        visit.expect(record).to_have_text(re.compile(r"Decoded level\s*1"))
        visit.button("Refined").click()
        visit.expect(record).to_have_text(re.compile(r"Decoded level\s*0"))

        with page.expect_request(lambda request: request.method == "PATCH"):  # too long to be sent when one leaves
            page.get_by_label("Notes").fill("語" * 25_000)
        visit.accessible()


def test_a_link_that_names_a_genre_twice_opens(visit: Visit) -> None:
    visit.page.goto(f"{visit.address}#/compose?genres=rock,rock")
    visit.button("Remove rock").wait_for()


def test_a_song_that_was_asked_for_in_an_outage_is_there_after_it(browser: Any, address: str) -> None:
    with contextlib.closing(browser.new_context()) as context:
        visit = Visit(context.new_page(), address)
        page = visit.page
        page.goto(address)
        visit.compose(1, 1, seed=12, Title="Awaited")
        visit.heard(1)
        song = visit.song
        page.goto("about:blank")
        page.route("**/api/**", lambda route: route.abort())
        page.goto(f"{address}#/song/{song}")
        page.get_by_text("does not answer").wait_for()
        page.get_by_text("Opening the song…").wait_for()
        page.unroute("**/api/**")
        visit.expect(page.get_by_label("Title")).to_have_value("Awaited")
