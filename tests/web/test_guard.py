"""What must not get through: other origins, other names, large bodies, wrong tokens, paths in names."""

import hashlib
import socket

import pytest
from studio_world import BASE, quick_world, world

from orchestrion.errors import UserError
from orchestrion.web import app as service
from orchestrion.web import server
from orchestrion.web.guard import LOOPBACK, cookie_name

SHARED = cookie_name("studio.lan:8765")


@pytest.fixture
def page(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "library") as made:
        yield made


@pytest.fixture
def shared(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "library", hosts=("studio.lan",), token="s3cret-tøken") as made:
        made.client.base_url = "http://studio.lan:8765"
        yield made


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8765", "", "localhost.evil:8765", "8765"])
def test_other_names_of_the_machine_are_refused(page, host):
    response = page.client.get("/api/status", headers={"host": host})
    assert response.status_code == 403 and response.json()["hint"]


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST:8765", "localhost"])
def test_its_own_names_are_known(page, host):
    assert page.client.get("/api/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_origins_are_refused(page, headers):
    assert page.client.post("/api/songs", json={}, headers=headers).status_code == 403
    assert page.client.get("/api/songs", headers=headers).status_code == 403
    assert page.get("/songs")["total"] == 0


def test_its_own_page_is_served(page):
    headers = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert page.client.post("/api/songs", json={}, headers=headers).status_code == 201


def test_a_link_from_elsewhere_may_open_the_page_but_not_the_interface(page):
    headers = {"sec-fetch-site": "cross-site"}
    assert page.client.get("/", headers=headers).status_code in (200, 404)
    assert page.client.get("/api/status", headers=headers).status_code == 403


def test_answers_carry_the_policy_that_keeps_other_hosts_out(page):
    response = page.client.get("/api/status")
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", "Bearer s3cret", "Basic s3cret", "Bearer s3cret-token"]
)
def test_wrong_tokens_are_refused(shared, given):
    response = shared.client.get("/api/status", headers={"authorization": given})
    assert response.status_code == 401 and "token" in response.json()["error"]
    assert shared.client.get("/api/status", headers={"cookie": f"{SHARED}=forged"}).status_code == 401
    assert shared.client.get("/api/status?token=forged").status_code == 401
    assert shared.client.post("/api/songs?token=s3cret-t%C3%B8ken", json={}).status_code == 401


def test_the_token_in_the_link_becomes_a_cookie(shared):
    response = shared.client.get("/api/status?token=s3cret-t%C3%B8ken&a=1", follow_redirects=False)
    assert response.status_code == 303 and response.headers["location"] == "/api/status?a=1"
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "s3cret" not in cookie
    assert shared.client.get("/api/status").status_code == 200
    shared.client.cookies.clear()
    bearer = {"authorization": "Bearer s3cret-tøken".encode()}
    assert shared.client.get("/api/status", headers=bearer).status_code == 200


def test_large_bodies_are_refused_announced_or_not(page, monkeypatch):
    large = b"{" + b" " * service.BODY_BYTES + b"}"
    response = page.client.post("/api/songs", content=large, headers={"content-type": "application/json"})
    assert response.status_code == 413 and response.json()["hint"]
    pieces = page.client.post(
        "/api/songs", content=iter([large[: len(large) // 2]] * 3), headers={"content-type": "application/json"}
    )
    assert pieces.status_code == 413
    announced = page.client.post("/api/songs", content=b"{}", headers={"content-length": "many"})
    assert announced.status_code == 413


def test_uploads_have_a_limit_of_their_own(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    monkeypatch.setattr(service, "UPLOAD_BYTES", 2000)
    monkeypatch.setattr(service, "IMPORT_BYTES", 4000)
    with world(tmp_path / "library") as page:
        for path, size in (("uploads", 1500), ("songs/import", 2500)):
            assert page.client.post(f"/api/{path}", content=iter([bytes(size), bytes(size)])).status_code == 413
        assert page.client.post("/api/songs/import", content=bytes(3000)).status_code == 400
        assert page.get("/status")["limits"]["import_bytes"] == 4000
        assert not any(page.studio.places.uploads.iterdir())


PATHS = ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a/../../b", "A", "-a", "a%00b", "a\\b", "%C3%A9", "a" * 81, "~root"]


@pytest.mark.parametrize("name", PATHS)
def test_ids_that_are_paths_are_refused(page, name):
    for path in (
        f"/api/songs/{name}",
        f"/api/songs/{name}/export",
        f"/api/songs/a/takes/{name}/audio",
        f"/api/uploads/{name}",
    ):
        response = page.client.get(path)
        assert response.status_code in (404, 422), path
        assert set(response.json()) == {"error", "hint"}
    assert page.client.delete(f"/api/songs/{name}").status_code in (404, 405, 422)


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        None,
        {"seconds": "many"},
        {"seconds": -1},
        {"seconds": 1e9},
        {"takes": 0},
        {"takes": 10},
        {"takes": 1.5},
        {"seed": -1},
        {"seed": 2**63},
        {"genres": ["a"] * 6},
        {"mix": {"first": "a", "second": "b", "share": 2}},
        {"prime": {"upload": "../x"}},
        {"lyrics": "x" * 100_001},
        {"unknown": 1},
    ],
)
def test_wrong_types_are_refused_with_a_sentence(page, body):
    response = page.client.post("/api/songs", json=body)
    assert response.status_code == 422 and isinstance(response.json()["error"], str)
    assert page.get("/songs")["total"] == 0


def test_numbers_that_are_none_are_refused(page):
    for text in (b'{"seconds": NaN}', b'{"seconds": Infinity}', b"{", b"\xff"):
        response = page.client.post("/api/songs", content=text, headers={"content-type": "application/json"})
        assert response.status_code in (400, 422) and response.json()["error"], text


def test_an_empty_token_lets_nobody_in(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "library", hosts=("studio.lan",), token="") as page:
        for headers in ({}, {"authorization": "Bearer "}, {"cookie": f"{cookie_name('studio.lan')}="}):
            told = page.client.get("/api/songs", headers={"host": "studio.lan", **headers})
            assert told.status_code == 401
            assert page.client.delete("/api/songs/a", headers={"host": "studio.lan", **headers}).status_code == 401


def test_a_service_goes_by_the_names_that_a_browser_sends(monkeypatch):
    assert server._names_of("MyBox.local")[0] == "mybox.local"
    assert server._names_of("fd00::5")[0] == "[fd00::5]"

    def nowhere(*_, **__):
        raise socket.gaierror("not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    assert socket.gethostname().lower() in server._names_of("0.0.0.0")


def test_a_proxy_calls_the_service_by_the_name_that_is_allowed(tmp_path, monkeypatch):
    taken = {}

    def app(studio, **options):
        taken.update(options)
        raise UserError("that is all", "")

    monkeypatch.setattr(server, "create_app", app)
    with pytest.raises(UserError, match="that is all"):
        server.serve(
            tmp_path / "library",
            model="mini",
            host=None,
            port=0,
            token="secret",
            browser=False,
            threads=None,
            allowed=["Studio.example.org"],
        )
    assert taken["hosts"] == (*LOOPBACK, "studio.example.org")
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "another", hosts=taken["hosts"], token=taken["token"]) as page:
        proxied = {"host": "studio.example.org", "origin": "https://studio.example.org"}
        for token, status in (("secret", 201), ("wrong", 401)):
            headers = {**proxied, "authorization": f"Bearer {token}"}
            assert page.client.post("/api/songs", json={}, headers=headers).status_code == status


def proof(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def test_the_cookies_of_others_on_the_same_host_keep_nobody_out(shared):
    cookies = f'prefs={{"a":1}}; {cookie_name("studio.lan:9000")}={proof("another")}; {SHARED}={proof("s3cret-tøken")}'
    assert shared.client.get("/api/status", headers={"cookie": cookies}).status_code == 200
    others = f"{cookie_name('studio.lan:9000')}={proof('s3cret-tøken')}"
    assert shared.client.get("/api/status", headers={"cookie": others}).status_code == 401


@pytest.mark.parametrize("token", ["a+b&c#d%41", "ключ", "two words; 1"])
def test_the_address_that_is_printed_lets_one_in_whatever_the_token(tmp_path, monkeypatch, token):
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "library", hosts=("studio.lan",), token=token) as page:
        page.client.base_url = "http://studio.lan:8765"
        assert page.client.get(server._address("studio.lan", 8765, token)).status_code in (200, 404)
        assert page.client.get("/api/status").status_code == 200


def test_of_all_addresses_one_is_printed_that_others_can_use(monkeypatch):
    monkeypatch.setattr(server, "_outward", lambda: iter(["192.168.1.7"]))
    assert server._address("0.0.0.0", 80, None) == "http://192.168.1.7:80/"
    assert server._address(None, 80, None) == "http://127.0.0.1:80/"
    assert server._address("fd00::5", 80, None) == "http://[fd00::5]:80/"
    monkeypatch.setattr(server, "_outward", lambda: iter(["fd00::7"]))
    assert server._address("::", 80, None) == "http://[fd00::7]:80/"
    assert server._address("0.0.0.0", 80, None) == f"http://{socket.gethostname().lower()}:80/"
    monkeypatch.setattr(server, "_outward", lambda: iter(()))
    assert server._address("::", 80, None) == f"http://{socket.gethostname().lower()}:80/"
    assert f"{socket.gethostname().lower().partition('.')[0]}.local" in server._names_of("0.0.0.0")
