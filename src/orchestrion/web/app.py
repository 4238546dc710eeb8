"""The routes of the service. `docs/studio.md` tells how to use them; `/api/openapi.json` describes each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from orchestrion.errors import UserError
from orchestrion.files import explained, read_json
from orchestrion.library.index import Sort, Wanted
from orchestrion.library.peaks import measure, peaks_path
from orchestrion.version import __version__
from orchestrion.web import schemas
from orchestrion.web.events import Hub, shown_job
from orchestrion.web.guard import LOOPBACK, Guard
from orchestrion.web.jobs import MOST_WAITING, QueueFull
from orchestrion.web.schemas import Identifier
from orchestrion.web.studio import Conflict, NotFound, Studio

PAGE = Path(__file__).parent / "static"
BODY_BYTES = 1 << 20
UPLOAD_BYTES = 256 << 20
IMPORT_BYTES = 1 << 30
FORMATS: list[schemas.Format] = ["flac", "mp3", "wav"]
_TYPES = {"flac": "audio/flac", "mp3": "audio/mpeg", "wav": "audio/wav"}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.Problem, "description": description}
    for status, description in (
        (400, "What was sent cannot be used."),
        (401, "The token is missing or wrong."),
        (403, "The service may not be used from there."),
        (404, "There is no such thing."),
        (409, "It cannot be done as things stand."),
        (413, "What was sent is too large."),
        (422, "What was sent is not as it should be."),
        (429, "Too much is waiting already."),
    )
}
Words = Annotated[str, Query(max_length=500)]
Name = Annotated[str | None, Query(max_length=200)]
Level = Annotated[int | None, Query(ge=0, le=20)]


def _binary(*types: str) -> dict[int | str, dict[str, Any]]:
    content = {each: {"schema": {"type": "string", "format": "binary"}} for each in types}
    return {200: {"content": content}, 206: {"content": content}, 416: {"description": "There is no such range."}}


def _body(kind: str) -> dict[str, Any]:
    """A request whose body is a file of this kind."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "content": content}}


async def _keep(request: Request, path: Path) -> None:
    """Write the body of a request into a file, piece by piece."""
    with explained(path, "write"), path.open("wb") as file:
        async for piece in request.stream():
            file.write(piece)


def _passing(name: str, kind: str, write: Callable[[Path], None], place: Path) -> FileResponse:
    """A file that is written for one answer, in a folder in `place` that goes when it is sent."""
    with explained(place, "write into"):
        folder = TemporaryDirectory(dir=place)
    path = Path(folder.name) / name
    try:
        write(path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, media_type=kind, filename=name, background=BackgroundTask(folder.cleanup))


def create_app(
    studio: Studio,
    *,
    hosts: tuple[str, ...] = LOOPBACK,
    token: str | None = None,
    background: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> FastAPI:
    """The service of a library. `background` is entered while it runs: it keeps the worker alive."""

    def status() -> schemas.Status:
        active = studio.jobs.active()
        known = studio.jobs.fact("model") or {"state": "loading", "problem": ""}
        return schemas.Status(
            version=__version__,
            model=schemas.ModelState(name=studio.model, **known),
            indexed=bool(studio.jobs.fact("indexed")),
            waiting=sum(job.state == "queued" for job in active),
            running=sum(job.state == "running" for job in active),
            formats=FORMATS,
            limits=schemas.Limits(
                upload_bytes=UPLOAD_BYTES,
                import_bytes=IMPORT_BYTES,
                body_bytes=BODY_BYTES,
                seconds=schemas.LONGEST_SECONDS,
                takes=schemas.MOST_TAKES,
                waiting=MOST_WAITING,
            ),
        )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with background():
            looking = asyncio.create_task(app.state.hub.run())
            try:
                yield
            finally:
                looking.cancel()

    app = FastAPI(
        title="Orchestrion Studio",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.hub = Hub(studio, status)
    app.include_router(_about(studio, status, app.state.hub))
    app.include_router(_songs(studio))
    app.include_router(_takes(studio))
    app.include_router(_work(studio))
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    larger = {"/api/uploads": UPLOAD_BYTES, "/api/songs/import": IMPORT_BYTES}
    app.add_middleware(Guard, hosts=hosts, token=token, body_bytes=BODY_BYTES, larger=larger)
    _explain(app)
    return app


def _explain(app: FastAPI) -> None:
    """Every error as a sentence and the way out."""

    def problem(status: int, error: str, hint: str) -> JSONResponse:
        return JSONResponse({"error": error, "hint": hint}, status)

    @app.exception_handler(UserError)
    async def refused(request: Request, error: UserError) -> JSONResponse:
        status = {NotFound: 404, Conflict: 409, QueueFull: 429}.get(type(error), 400)
        return problem(status, error.problem, error.hint)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        told = []
        for detail in error.errors():
            where = ".".join(str(part) for part in detail["loc"][1:])
            told.append(f"{where}: {detail['msg']}" if where else str(detail["msg"]))
        return problem(422, "; ".join(told), "correct this and try again")

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, error: ClientDisconnect) -> Response:
        return Response()  # nobody reads it

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(error.status_code, str(error.detail), "check the address")
        answer.headers.update(error.headers or {})
        return answer


def _about(studio: Studio, status: Callable[[], schemas.Status], hub: Hub) -> APIRouter:
    router = APIRouter(prefix="/api", responses=_PROBLEMS, tags=["about"])

    @router.get("/status")
    async def get_status() -> schemas.Status:  # two short reads: a thread would cost more than they do
        """Whether the model is there, how much waits, what may be asked for."""
        return status()

    @router.get("/models")
    def get_models() -> schemas.Models:
        """The models that can be composed with and the names they know; none while they are looked for."""
        return schemas.Models(models=studio.models())

    @router.get(
        "/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def get_events() -> StreamingResponse:
        """All that happens, as server-sent events: `job`, `song`, `gone` and `status`, each a whole object."""
        return StreamingResponse(hub.listen(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    return router


def _songs(studio: Studio) -> APIRouter:
    router = APIRouter(prefix="/api", responses=_PROBLEMS, tags=["songs"])

    @router.get("/songs")
    def list_songs(
        q: Words = "",
        artist: Name = None,
        genre: Name = None,
        tag: Name = None,
        starred: bool | None = None,
        sort: Sort = "newest",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    ) -> schemas.SongPage:
        """Songs that have all words of `q` in title, artist, genre, lyrics, notes or tags, as beginnings of words."""
        return studio.search(Wanted(q, artist, genre, tag, starred, sort, limit, offset))

    @router.get("/names")
    def get_names() -> schemas.Names:
        """Artists, genres and tags of the songs in the library."""
        names = studio.index.names()
        return schemas.Names(artists=names["artist"], genres=names["genre"], tags=names["tag"])

    @router.post("/songs", status_code=201)
    def compose(asked: schemas.ComposeIn) -> schemas.Begun:
        """A new song, with one take or several."""
        song, job = studio.compose(asked)
        return schemas.Begun(song=studio.shown(song.id), job=shown_job(job))

    @router.post(
        "/songs/import",
        status_code=201,
        openapi_extra=_body("application/zip"),
    )
    async def import_song(request: Request) -> schemas.SongOut:
        """A song from a zip file that was exported."""
        place = studio.places.uploads
        with explained(place, "write into"), TemporaryDirectory(dir=place) as folder:
            packed = Path(folder) / "song.zip"
            await _keep(request, packed)
            song = await run_in_threadpool(studio.unpack, packed)
        return await run_in_threadpool(studio.shown, song.id)

    @router.get("/songs/{song}")
    def get_song(song: Identifier) -> schemas.SongOut:
        """A song with all its takes."""
        return studio.shown(song)

    @router.patch("/songs/{song}")
    def change_song(song: Identifier, changes: schemas.SongChanges) -> schemas.SongOut:
        """Change title, lyrics, notes, tags or the star; what is left out stays."""
        studio.describe(song, changes)
        return studio.shown(song)

    @router.delete("/songs/{song}", status_code=204)
    def delete_song(song: Identifier) -> None:
        """Move a song to the bin."""
        studio.delete(song)

    @router.post("/songs/{song}/restore")
    def restore_song(song: Identifier) -> schemas.SongOut:
        """Take a song out of the bin."""
        studio.restore(song)
        return studio.shown(song)

    @router.get("/bin")
    def get_bin() -> schemas.Bin:
        """The songs that were deleted and can be had back, deleted last first."""
        return studio.bin()

    @router.delete("/bin/{song}", status_code=204)
    def discard_song(song: Identifier) -> None:
        """Delete a song in the bin for good."""
        studio.discard(song)

    @router.post("/songs/{song}/undo")
    def undo(song: Identifier) -> schemas.SongOut:
        """Take the last step back: takes that were asked for, or a choice."""
        studio.undo(song)
        return studio.shown(song)

    @router.post("/songs/{song}/redo")
    def redo(song: Identifier) -> schemas.SongOut:
        """Do the step again that was taken back last."""
        studio.redo(song)
        return studio.shown(song)

    @router.get("/songs/{song}/export", response_class=FileResponse, responses=_binary("application/zip"))
    def export_song(song: Identifier) -> FileResponse:
        """A song with all its takes, codes included, as a zip file."""
        return _passing(f"{song}.zip", "application/zip", lambda path: studio.pack(song, path), studio.places.uploads)

    return router


def _takes(studio: Studio) -> APIRouter:
    router = APIRouter(prefix="/api/songs/{song}/takes/{take}", responses=_PROBLEMS, tags=["takes"])

    @router.post("/choose")
    def choose(song: Identifier, take: Identifier) -> schemas.SongOut:
        """Choose a take among those that were asked for together."""
        studio.choose(song, take)
        return studio.shown(song)

    @router.post("/continue", status_code=201)
    def continue_take(song: Identifier, take: Identifier, asked: schemas.ContinueIn) -> schemas.Begun:
        """Takes of what comes next, from the end of a take or any point in it."""
        _, job = studio.continue_(song, take, asked)
        return schemas.Begun(song=studio.shown(song), job=shown_job(job))

    @router.post("/repaint", status_code=201)
    def repaint(song: Identifier, take: Identifier, asked: schemas.RepaintIn) -> schemas.Begun:
        """Takes with a part made anew to fit what is around it."""
        _, job = studio.repaint(song, take, asked)
        return schemas.Begun(song=studio.shown(song), job=shown_job(job))

    @router.post("/refine", status_code=201)
    def refine(song: Identifier, take: Identifier) -> schemas.Begun:
        """Make what a draft lacks."""
        _, job = studio.refine(song, take)
        return schemas.Begun(song=studio.shown(song), job=shown_job(job))

    @router.get("/audio", response_class=FileResponse, responses=_binary("audio/flac"))
    def get_audio(song: Identifier, take: Identifier, level: Level = None) -> FileResponse:
        """The sound of a take at a level, by default the finest there is; ranges of bytes may be asked for."""
        path, _ = studio.audio(song, take, level)
        return FileResponse(path, media_type="audio/flac")

    @router.get("/peaks")
    def get_peaks(song: Identifier, take: Identifier, level: Level = None) -> schemas.PeaksOut:
        """The outline of the waveform."""
        path, _ = studio.audio(song, take, level)
        kept = peaks_path(path)
        data = read_json(kept, "peaks") if kept.is_file() else measure(path).model_dump()
        return schemas.PeaksOut(**data)

    @router.get("/picture", response_class=FileResponse, responses=_binary("image/png"))
    def get_picture(song: Identifier, take: Identifier) -> FileResponse:
        """Waveform and spectrogram as PNG."""
        studio.take(song, take)
        path = studio.places.take(song, take) / "picture.png"
        if not path.is_file():
            raise NotFound("there is no picture yet", "wait until the take is made")
        return FileResponse(path, media_type="image/png")

    @router.get("/lyrics")
    def get_lyrics(song: Identifier, take: Identifier) -> schemas.TimedLyricsOut:
        """The lyrics of a take, with the time of each word where that is known."""
        return studio.timed_lyrics(song, take)

    @router.get("/download", response_class=FileResponse, responses=_binary("audio/flac", "audio/mpeg", "audio/wav"))
    def download(
        song: Identifier,
        take: Identifier,
        kind: Annotated[schemas.Format, Query(alias="format")] = "flac",
        level: Level = None,
    ) -> FileResponse:
        """The sound of a take as a file, with what made it in its tags."""
        kept = studio.song(song)
        path, wanted = studio.audio(song, take, level)
        name = f"{kept.id}-{kept.take(take).number}.{kind}"
        if kind == "flac":
            return FileResponse(path, media_type=_TYPES[kind], filename=name)
        from orchestrion.library.download import convert  # torch: not before it is needed

        made = studio.places.take(song, take)
        return _passing(name, _TYPES[kind], lambda file: convert(made, path, wanted, file), studio.places.uploads)

    @router.get("/provenance")
    def get_provenance(song: Identifier, take: Identifier, level: Level = None) -> schemas.Provenance:
        """What made a take: the record that its files carry in their tags, and what drew it."""
        from orchestrion.library.folder import SongFolder  # torch: not before it is needed

        _, wanted = studio.audio(song, take, level)
        info = SongFolder.open(studio.places.take(song, take)).info
        return schemas.Provenance(
            made=info.made(wanted).model_dump(mode="json"),
            engine=info.engine.model_dump(mode="json") if info.engine else None,
        )

    return router


def _work(studio: Studio) -> APIRouter:
    router = APIRouter(prefix="/api", responses=_PROBLEMS, tags=["work"])

    def job_of(job: str) -> schemas.JobOut:
        try:
            return shown_job(studio.jobs.get(job))
        except KeyError as error:
            raise NotFound(f"there is no job {job!r}", "look at the list of jobs") from error

    @router.get("/jobs")
    def list_jobs(limit: Annotated[int, Query(ge=1, le=200)] = 100) -> schemas.JobList:
        """The latest jobs, the newest first."""
        return schemas.JobList(jobs=[shown_job(job) for job in studio.jobs.latest(limit)])

    @router.get("/jobs/{job}")
    def get_job(job: Identifier) -> schemas.JobOut:
        """How far a job is."""
        return job_of(job)

    @router.post("/jobs/{job}/cancel")
    def cancel_job(job: Identifier) -> schemas.JobOut:
        """Leave a job; what is made so far is kept."""
        job_of(job)
        return _settled(lambda: shown_job(studio.jobs.cancel(job)))

    @router.post("/jobs/{job}/resume")
    def resume_job(job: Identifier) -> schemas.JobOut:
        """Go on with a job that was cancelled or failed."""
        job_of(job)
        return _settled(lambda: shown_job(studio.resume(job)))

    @router.post(
        "/uploads",
        status_code=201,
        openapi_extra=_body("application/octet-stream"),
    )
    async def upload_sound(request: Request, name: Annotated[str, Query(max_length=200)] = "") -> schemas.Upload:
        """Send a file of sound as the body, to begin songs with. `name` is only shown."""
        upload, path = studio.begin_upload(name)
        try:
            await _keep(request, path)
            if not path.stat().st_size:
                raise UserError("nothing was sent", "send the file as the body of the request")
            return await run_in_threadpool(studio.end_upload, upload)
        except BaseException:
            studio.drop_upload(upload)
            raise

    @router.get("/uploads/{upload}")
    def get_upload(upload: Identifier) -> schemas.Upload:
        """Whether a sound is decoded yet, and how long it is."""
        return studio.upload(upload)

    @router.get("/uploads/{upload}/audio", response_class=FileResponse, responses=_binary("audio/flac"))
    def get_upload_audio(upload: Identifier) -> FileResponse:
        """The sound that was sent, once it is decoded."""
        return FileResponse(_decoded(upload), media_type="audio/flac")

    @router.get("/uploads/{upload}/peaks")
    def get_upload_peaks(upload: Identifier) -> schemas.PeaksOut:
        """The outline of the sound that was sent, once it is decoded."""
        return schemas.PeaksOut(**read_json(peaks_path(_decoded(upload)), "peaks"))

    def _decoded(upload: str) -> Path:
        studio.upload(upload)
        path = studio.places.upload(upload) / "audio.flac"
        if not peaks_path(path).is_file():
            raise NotFound("this sound is not decoded yet", "wait a moment")
        return path

    @router.get("/map")
    def get_map() -> schemas.MapOut:
        """The map of artists, genres and songs, as it was drawn last."""
        return studio.map()

    @router.post("/map", status_code=202)
    def draw_map() -> schemas.JobOut:
        """Draw the map anew."""
        return shown_job(studio.draw_map())

    return router


def _settled(change: Callable[[], schemas.JobOut]) -> schemas.JobOut:
    try:
        return change()
    except NotFound:
        raise
    except UserError as error:
        raise Conflict(error.problem, error.hint) from error
