"""The page that is shipped is built from the sources beside it, and its client from the service beside it."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from orchestrion.web.app import PAGE, create_app
from orchestrion.web.places import Places
from orchestrion.web.studio import Studio

SOURCES = ("index.html", "package.json", "package-lock.json", "vite.config.ts", "svelte.config.js", "src", "public")


def sources_sha256(web: Path) -> str:
    """The hash that web/vite.config.ts writes into the build."""
    files = [path for name in SOURCES for path in ((web / name).rglob("*") if (web / name).is_dir() else [web / name])]
    names = sorted(path.relative_to(web).as_posix() for path in files if path.is_file())
    lines = [f"{hashlib.sha256((web / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_shipped_page_is_built_from_the_sources_beside_it(repo_root: Path) -> None:
    built = (PAGE / "sources.sha256").read_text().strip()
    assert built == sources_sha256(repo_root / "web"), "the page is older than its sources: run scripts/page"


def test_another_source_has_another_hash(repo_root: Path, tmp_path: Path) -> None:
    for name in SOURCES:
        (tmp_path / name).mkdir() if (repo_root / "web" / name).is_dir() else (tmp_path / name).write_text(name)
    (tmp_path / "src" / "App.svelte").write_text("one")
    before = sources_sha256(tmp_path)
    (tmp_path / "src" / "App.svelte").write_text("other")
    assert sources_sha256(tmp_path) != before


def test_the_client_is_made_from_this_service(repo_root: Path, tmp_path: Path) -> None:
    studio = Studio(Places(tmp_path), "mini")
    described = create_app(studio).openapi()
    studio.close()
    kept = json.loads((repo_root / "web" / "openapi.json").read_text())
    assert kept == json.loads(json.dumps(described)), "the service has changed: run scripts/page"


@pytest.mark.parametrize("suffix", ["html", "js", "css"])
def test_the_page_asks_no_other_host(suffix: str) -> None:
    for path in PAGE.rglob(f"*.{suffix}"):
        loaded = re.findall(
            r"""(?:src|href|url|from|import|fetch)\s*[=(]?\s*["'(](?:https?:)?//[^"')]+""", path.read_text()
        )
        assert not loaded, path.name


def test_what_the_page_names_is_there() -> None:
    names = re.findall(r'(?:src|href)="\./([^"]+)"', (PAGE / "index.html").read_text())
    assert any(name.endswith(".js") for name in names)
    assert all((PAGE / name).is_file() for name in names)
