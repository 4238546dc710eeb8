import asyncio
import json

import pytest
from studio_world import quick_world, world

from orchestrion.errors import UserError
from orchestrion.library.tree import SONG
from orchestrion.web import events
from orchestrion.web.events import Hub


@pytest.fixture
def page(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "library") as made:
        made.worker.introduce()
        yield made


def parsed(told: str) -> tuple[str, dict]:
    name, data = told.strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def heard(page, act, *, until) -> list[tuple[str, dict]]:
    """What a page hears while `act` happens in a thread, until an event that it waits for."""

    async def listen() -> list[tuple[str, dict]]:
        hub: Hub = page.app.state.hub
        looking = asyncio.create_task(hub.run())
        found = []
        acting = None
        stream = hub.listen()
        async for told in stream:
            found += [parsed(one) for one in told.strip().split("\n\n")]
            if acting is None:
                acting = asyncio.create_task(asyncio.to_thread(act))
            if any(until(*event) for event in found):
                break
        await stream.aclose()
        looking.cancel()
        await acting
        return found

    return asyncio.run(asyncio.wait_for(listen(), 60))


def test_a_page_hears_how_a_song_is_made(page, monkeypatch):
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.005)  # a song so short is made between two looks on a fast machine

    def act() -> None:
        page.studio.compose(events.schemas.ComposeIn(seconds=0.4, title="Heard"))
        while page.worker.work():
            pass

    found = heard(page, act, until=lambda name, data: name == "song" and data["tree"][0]["state"] == "done")
    assert found[0][0] == "status" and found[0][1]["model"]["state"] == "ready"
    assert {name for name, _ in found} == {"status", "job", "song"}
    song = next(data for name, data in reversed(found) if name == "song")
    assert song["title"] == "Heard" and song["heard"]["level"] == 0
    statuses = [data for name, data in found if name == "status"]
    assert {(status["waiting"], status["running"]) for status in statuses} >= {(0, 0), (0, 1)}
    assert len(statuses) <= 5, "the status is told when it is another one, not at each step of a job"
    assert page.get("/songs", q="heard")["songs"][0]["heard"] is not None, "the index follows"


def test_several_pages_hear_the_same_and_what_waits_is_told_first(page):
    page.post("/songs", {"seconds": 0.4})

    async def listen() -> list[list[tuple[str, dict]]]:
        hub: Hub = page.app.state.hub
        streams = [hub.listen() for _ in range(3)]
        found = [[parsed(await anext(stream)) for _ in range(2)] for stream in streams]
        for stream in streams:
            await stream.aclose()
        return found

    one, two, three = asyncio.run(listen())
    assert one == two == three and [name for name, _ in one] == ["status", "job"]
    assert one[1][1]["state"] == "queued"


def test_what_cannot_be_looked_at_does_not_end_the_news(page, monkeypatch):
    refreshed, failed = page.studio.refreshed, []

    def damaged(song: str) -> None:
        if not failed:
            failed.append(song)
            raise UserError("the song is damaged")
        refreshed(song)

    monkeypatch.setattr(page.studio, "refreshed", damaged)

    def act() -> None:
        page.studio.compose(events.schemas.ComposeIn(seconds=0.4))
        while page.worker.work():
            pass

    heard(page, act, until=lambda name, data: name == "song" and data["tree"][0]["state"] == "done")
    assert failed


def test_the_last_news_of_a_song_is_looked_at_again_where_that_failed(page, monkeypatch):
    hub: Hub = page.app.state.hub
    song = page.studio.compose(events.schemas.ComposeIn(seconds=0.4))[0].id
    page.studio.changes()
    while page.worker.work():
        pass
    put = page.studio.index.put

    def full(_: object) -> None:
        monkeypatch.setattr(page.studio.index, "put", put)
        raise OSError("no space is left")

    monkeypatch.setattr(page.studio.index, "put", full)
    found = [parsed(told) for _ in range(2) for told in hub._changes()]
    assert [data["heard"]["take"] for name, data in found if name == "song" and data["id"] == song]
    assert [data["state"] for name, data in found if name == "job"] == ["done"]


def test_a_damaged_song_keeps_no_news_of_others(page):
    songs = [page.song(title=title)["id"] for title in ("Damaged", "Whole")]
    (page.studio.places.song(songs[0]) / SONG).write_text("{")
    assert [told.id for told in page.studio.changes()] == songs[1:]


def test_a_page_that_does_not_listen_is_let_go(page, monkeypatch):
    monkeypatch.setattr(events, "_MOST_BEHIND", 3)

    async def listen() -> int:
        hub: Hub = page.app.state.hub
        stream = hub.listen()
        await anext(stream)
        for number in range(10):
            hub.tell(f"event: x\ndata: {number}\n\n")
        return len([told async for told in stream])

    assert asyncio.run(listen()) < 4


def test_what_one_page_changes_the_others_hear(page):
    song = page.song(title="Shared")
    page.studio.changes()

    def act() -> None:
        page.studio.describe(song["id"], events.schemas.SongChanges(title="Renamed"))
        page.studio.delete(song["id"])

    found = heard(page, act, until=lambda name, data: name == "gone")
    assert ("gone", {"id": song["id"]}) in found
