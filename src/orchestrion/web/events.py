"""What happens, told to every page that is open, as server-sent events."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from orchestrion.web import schemas
from orchestrion.web.jobs import Job
from orchestrion.web.studio import Studio

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 15.0
_MOST_BEHIND = 1000
"""Events that a page may be behind; beyond that its stream ends, and it begins anew."""


class Hub:
    """Looks at the jobs once for all pages, and passes on what has changed.

    Events carry whole objects: `job`, `song`, `gone` (a song's id), `status`. A lost one does no harm.
    """

    def __init__(self, studio: Studio, status: Callable[[], schemas.Status]) -> None:
        self.studio, self.status = studio, status
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._seen = studio.jobs.changed_since(2**62)[1]
        self._levels: dict[str, int] = {}
        self._stale: set[str] = set()
        self._told_status = ""
        self._closed = False

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                news = await asyncio.to_thread(self._changes)
            except Exception:  # such as a full disk: what there is to tell is told later
                logger.exception("what has changed could not be looked at")
                continue
            if news:
                self.tell("".join(news))

    def tell(self, events: str) -> None:
        """Give every page these events, in one piece: what each page costs is the number of pieces."""
        for listener in list(self._listeners):
            try:
                listener.put_nowait(events)
            except asyncio.QueueFull:
                self._listeners.discard(listener)
                with contextlib.suppress(asyncio.QueueEmpty):
                    listener.get_nowait()
                listener.put_nowait(None)

    def close(self) -> None:
        """End all streams, those too that begin later."""
        self._closed = True
        for listener in list(self._listeners):
            with contextlib.suppress(asyncio.QueueFull):
                listener.put_nowait(None)

    async def listen(self) -> AsyncIterator[str]:
        """All that happens from now on, after the present state."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(_MOST_BEHIND)
        self._listeners.add(queue)
        try:
            yield event("status", self.status())
            for job in await asyncio.to_thread(self.studio.jobs.active):
                yield event("job", shown_job(job))
            while not self._closed:
                try:
                    told = await asyncio.wait_for(queue.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                if told is None:
                    return
                yield told
        finally:
            self._listeners.discard(queue)

    def _changes(self) -> list[str]:
        jobs, latest = self.studio.jobs.changed_since(self._seen)
        self._refresh({job.song for job in jobs if job.song and self._is_news(job)})
        events = [event("job", shown_job(job)) for job in jobs]
        for song in self.studio.changes():
            events.append(event("gone" if isinstance(song, schemas.Gone) else "song", song))
        if latest != self._seen:
            self._seen = latest
            status = event("status", self.status())
            if status != self._told_status:
                self._told_status = status
                events.append(status)
        return events

    def _refresh(self, songs: set[str]) -> None:
        """What cannot be looked at now, such as a damaged song, is tried again the next time, and told of once."""
        failed = set()
        for song in songs | self._stale:
            try:
                self.studio.refreshed(song)
            except Exception:
                failed.add(song)
                if song not in self._stale:
                    logger.exception("what became of %s cannot be looked at", song)
        self._stale = failed

    def _is_news(self, job: Job) -> bool:
        """Whether a job has another state or stage than before: then another level may be there to hear."""
        news = hash((job.state, job.stage, job.level))
        if self._levels.get(job.id) == news:
            return False
        self._levels[job.id] = news
        return True


def shown_job(job: Job) -> schemas.JobOut:
    shown = {name: getattr(job, name) for name in schemas.JobOut.model_fields}
    return schemas.JobOut(**{**shown, "takes": list(job.takes)})


def event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {data.model_dump_json()}\n\n"
