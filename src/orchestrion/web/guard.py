"""Who may talk to the service, and how much: checked before anything else is done with a request.

The service is for the person at this machine. A page of another origin must not reach it through their browser: the
name that it was called by (`Host`) and the page that calls (`Origin`) are those of the service itself, which also
stops names that are pointed at 127.0.0.1 (DNS rebinding).
"""

import contextlib
import hashlib
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COOKIE = "orchestrion_token"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "worker-src 'self' blob:; connect-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class TooLarge(Exception):
    """The body is larger than the route takes."""


class Guard:
    """Middleware. `hosts` are the names the service goes by, without ports; `token`, if given, is wanted of all.

    A body may have `body_bytes`, at a path of `larger` as many as it says.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: tuple[str, ...], token: str | None, body_bytes: int, larger: Mapping[str, int]
    ) -> None:
        self.app, self.hosts, self.token = app, hosts, token
        self._proof = hashlib.sha256((token or "").encode()).hexdigest()
        self.body_bytes, self.larger = body_bytes, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, _hardened(send))
            return
        limit = self.larger.get(scope["path"], self.body_bytes)
        announced = headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > limit:
            await _refused(413, "this is too large", f"send at most {limit} bytes")(scope, receive, _hardened(send))
            return
        body = _Body(limit)
        started = False

        async def told(message: Message) -> None:
            nonlocal started
            if not body.too_large or started:  # what the routes make of a body that was cut off is of no interest
                started = True
                await _hardened(send)(message)

        with contextlib.suppress(TooLarge):
            await self.app(scope, body.receiver(receive), told)
        if body.too_large and not started:
            await _refused(413, "this is too large", f"send at most {limit} bytes")(scope, receive, _hardened(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if _name(host) not in self.hosts:
            return _refused(403, "the service does not go by this name", "open it by the address that it printed")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != host:
            return _refused(403, "a page of another origin may not use the service", "open the Studio's own page")
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and (
            scope["method"] not in _SAFE_METHODS or scope["path"].startswith("/api/")
        ):
            return _refused(403, "a page of another origin may not use the service", "open the Studio's own page")
        if self.token is None:
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["method"] == "GET" and self._is_token(query.pop("token", [""])[0].encode()):
            response = RedirectResponse(f"{scope['path']}?{urlencode(query, doseq=True)}".rstrip("?"), 303)
            response.set_cookie(cookie_name(host), self._proof, httponly=True, samesite="lax", max_age=30 * 86400)
            return response
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.encode("latin-1")):
            return None
        kept = cookie_parser(headers.get("cookie", "")).get(cookie_name(host), "")
        if self.token and secrets.compare_digest(kept.encode(), self._proof.encode()):
            return None
        return _refused(
            401, "the token is missing or wrong", "open the address that the Studio printed, with its token"
        )

    def _is_token(self, given: bytes) -> bool:
        return bool(given) and self.token is not None and secrets.compare_digest(given, self.token.encode())


def _name(host: str) -> str:
    """The name in `name:port`."""
    return host.rpartition(":")[0].lower() if not host.endswith("]") and ":" in host else host.lower()


def cookie_name(host: str) -> str:
    """The name of the cookie of the service at `name:port`: the cookies of a name are shared by all its ports.

    >>> cookie_name("studio.lan:8765")
    'orchestrion_token_8765'
    """
    port = host.lower().removeprefix(_name(host)).removeprefix(":")
    return f"{_COOKIE}_{port}" if port.isdigit() else _COOKIE


def _netloc(origin: str) -> str | None:
    """The `name:port` of an origin; None for what has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


class _Body:
    """What comes of a request's body, at most `limit` bytes of it."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    @property
    def too_large(self) -> bool:
        return self.left < 0

    def receiver(self, receive: Receive) -> Receive:
        async def limited() -> Message:
            message = await receive()
            self.left -= len(message.get("body", b""))
            if self.too_large:
                raise TooLarge
            return message

        return limited


def _hardened(send: Send) -> Send:
    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("x-content-type-options", "nosniff")
            headers.setdefault("referrer-policy", "no-referrer")
            headers.setdefault("cross-origin-resource-policy", "same-origin")
            headers.setdefault("content-security-policy", _POLICY)
            headers.setdefault("cache-control", "no-cache")
        await send(message)

    return hardened


def _refused(status: int, problem: str, hint: str) -> Response:
    return JSONResponse({"error": problem, "hint": hint}, status)
