"""The Studio as it runs: the server, the worker beside it, the page in a browser."""

import contextlib
import json
import logging
import re
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import uvicorn

from orchestrion.checkpoints import zoo
from orchestrion.errors import UserError
from orchestrion.library.database import usable
from orchestrion.web.app import create_app
from orchestrion.web.events import Hub
from orchestrion.web.guard import LOOPBACK
from orchestrion.web.jobs import Jobs
from orchestrion.web.places import Places
from orchestrion.web.studio import Studio

logger = logging.getLogger(__name__)

_AGAIN_SECONDS = 1.0
_MOST_DOUBLED = 6
_MOST_EARLY = 3
"""A worker that ended so often before it had begun is told of."""
_ANY = ("0.0.0.0", "::")


def serve(
    library: Path,
    *,
    model: str,
    adapter: Path | None = None,
    host: str | None,
    port: int,
    token: str | None,
    browser: bool,
    threads: int | None,
    allowed: Sequence[str] = (),
) -> None:
    """Run the Studio of a library until it is stopped. It goes by the names that are `allowed` too.

    With an `adapter` it composes with what `model` learned besides, and `model` as it is can be chosen as well.

    UserError where the port or the library is in use, where the library cannot be written, and where there is no
    such model or adapter.
    """
    zoo.locate(model)
    own, beside = (zoo.called(model), None)
    if adapter is not None:
        own, beside = str(zoo.locate_adapter(adapter).absolute()), own
    places = Places(library)
    places.make()
    if token is not None and not token.strip():
        raise UserError("the token is empty, which would keep nobody out", "choose a secret with --token")
    for option, given in (("--host", host), ("--allow-host", allowed)):
        if given and token is None:
            raise UserError(f"with {option} others can reach the Studio", "choose a secret for them with --token")
    hosts = (*LOOPBACK, *(_names_of(host) if host else ()), *(_public(name) for name in allowed))
    with contextlib.ExitStack() as held:
        held.callback(places.lock_server().release)
        bound = held.enter_context(_bound(host or "127.0.0.1", port))
        studio = held.enter_context(contextlib.closing(Studio(places, own)))
        studio.drop_old_uploads()
        studio.drop_broken_imports()
        with usable(places.jobs):
            studio.jobs.make_known("models", [])
            studio.jobs.make_known("indexed", False)
        threading.Thread(target=studio.index_anew, daemon=True).start()
        app = create_app(
            studio,
            hosts=hosts,
            token=token,
            background=lambda: worker_beside(places, studio.jobs, own, beside=beside, threads=threads),
        )
        address = _address(host, bound.getsockname()[1], token)
        print(f"The Studio is at {address}  (Ctrl-C stops it)", flush=True)  # noqa: T201
        if browser:
            own = _address(None if host in _ANY else host, bound.getsockname()[1], token)
            threading.Timer(0.3, webbrowser.open, (own,)).start()  # of this machine: there the microphone may be used
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        with contextlib.suppress(KeyboardInterrupt):
            _Server(config, app.state.hub).run(sockets=[bound])


class _Server(uvicorn.Server):
    """Ends the streams of the pages that are open before it waits for what is open: they have no end of their own."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._hub.close()
        await super().shutdown(sockets)


@contextlib.contextmanager
def worker_beside(
    places: Places, jobs: Jobs, model: str, *, beside: str | None = None, threads: int | None = None
) -> Iterator[None]:
    """Keeps a worker alive: one that dies is begun again, and goes on where it was.

    `model` is a model, or an adapter's folder with the model that it is `beside`.

    One that dies before it has made known its model, again and again, is begun ever later, and this is made known.
    """
    settings = json.dumps({"library": str(places.library), "model": model, "beside": beside, "threads": threads})
    command = [sys.executable, "-m", "orchestrion.web.worker", settings]
    ending = threading.Event()

    def begun() -> subprocess.Popen[bytes]:
        jobs.make_known("model", {"state": "loading", "problem": ""})
        return subprocess.Popen(command, start_new_session=True)  # Ctrl-C is not for it

    def keep() -> None:
        early = 0
        while True:
            code = running[0].wait()
            if ending.is_set():
                return
            early = early + 1 if jobs.fact("model")["state"] == "loading" else 0
            if early >= _MOST_EARLY:
                problem = f"the worker ended {early} times while it began; the log of the Studio says more"
                jobs.make_known("model", {"state": "failed", "problem": problem})
            logger.warning("the worker ended (%s) and is begun again", code)
            if ending.wait(_AGAIN_SECONDS * 2 ** min(early, _MOST_DOUBLED)):
                return
            running[0] = begun()

    running = [begun()]
    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        running[0].terminate()
        thread.join(10)
        jobs.put_back()


def _bound(host: str, port: int) -> socket.socket:
    """A socket at this address; any free port for 0."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen()  # from now on who calls waits until the page is there
    except OSError as error:
        bound.close()
        raise UserError(
            f"port {port} of {host} cannot be used: {error.strerror}", "choose another with --port, or 0 for any"
        ) from error
    return bound


def _address(host: str | None, port: int, token: str | None) -> str:
    """Where the page is, for who is to open it: of all addresses of this machine one that others can reach."""
    shown = "127.0.0.1" if host is None else _in_address(host)
    if host in _ANY:
        reached = (_in_address(one) for one in _outward() if host == "::" or ":" not in one)
        shown = next(reached, socket.gethostname().lower())
    return f"http://{shown}:{port}/" + (f"?token={quote(token, safe='')}" if token else "")


def _names_of(host: str) -> tuple[str, ...]:
    """What others call a service for this address by; for all addresses of this machine, its names and theirs."""
    name = socket.gethostname().lower()
    own = (_in_address(host), name, f"{name.partition('.')[0]}.local")
    if host not in _ANY:
        return own
    found = set(_outward())
    with contextlib.suppress(OSError):  # the machine's name may be known nowhere
        found |= {str(one[4][0]) for one in socket.getaddrinfo(socket.gethostname(), None)}
    return (*own, *sorted(_in_address(one) for one in found))


def _public(name: str) -> str:
    """A name that others give the service, as they send it; UserError for an address, or a name with a port."""
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise UserError(
            f"--allow-host {name!r} is no name", "give the name alone, without https:// and port: studio.example.org"
        )
    return name.lower()


def _outward() -> Iterator[str]:
    """The addresses by which this machine reaches others, and they it."""
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as far_away:
            far_away.connect((far, 9))  # sends nothing: it says from which address that would be
            yield str(far_away.getsockname()[0])


def _in_address(host: str) -> str:
    """A host as it stands in an address."""
    return f"[{host}]".lower() if ":" in host else host.lower()
