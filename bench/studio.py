"""How quick the Studio is: the first page, search among 10,000 songs, and what open pages cost the worker.

    python bench/studio.py [--songs 10000] [--pages 50] [--runs 5] [--pairs 15]

Starts the command `orchestrion studio` as a person does, with the model `mini` and a library of its own.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrion.library.index import Index, Wanted
from orchestrion.library.tree import LibrarySong, Take, write_song
from peers.figures import Figure
from report import add_output_options, machine, publish, table

WORDS = """
moon river silver night dance fire winter garden stone bird harbour mother golden road summer storm heart bell wave
glass rose thunder valley lantern dream mountain candle ocean shadow letter forest
""".split()  # noqa: SIM905
QUERIES = ("m", "moon", "moon riv", "silver night dance", "song 77", "nothingness")


@contextmanager
def studio(library: Path) -> Iterator[str]:
    """A running Studio; its address."""
    command = [sys.executable, "-m", "orchestrion", "studio", "--no-browser", "--port", "0", "--library", str(library)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield found[0].rstrip("/")
        finally:
            process.terminate()


def ask(address: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        content = answer.read()
    return json.loads(content) if path.startswith("/api") else content


def start(runs: int) -> tuple[list[float], list[float]]:
    """Seconds until the page and the state are there, and until the model can compose."""
    page, model = [], []
    for _ in range(runs):
        with TemporaryDirectory() as folder:
            before = time.perf_counter()
            with studio(Path(folder)) as address:
                ask(address, "/")
                ask(address, "/api/status")
                page.append(time.perf_counter() - before)
                while ask(address, "/api/status")["model"]["state"] != "ready":
                    time.sleep(0.02)
                model.append(time.perf_counter() - before)
    return page, model


def fill(library: Path, songs: int) -> None:
    """Write songs without audio, of random words."""
    rng = random.Random(0)
    for number in range(songs):
        words = rng.choices(WORDS, k=24)
        take = Take(
            id="take-1", parent=None, number=1, act="compose", batch="a", start=0.0, stop=20.0,
            artist=f"Artist {number % 40}", genres=(f"genre {number % 9}",), lyrics=" ".join(words[4:]),
            model="mini", created="2026-01-01",
        )  # fmt: skip
        song = LibrarySong(
            id=f"song-{number}",
            title=f"{' '.join(words[:3])} song {number}",
            created=f"{number:06}",
            lyrics=take.lyrics,
        )
        write_song(library / song.id, song.with_takes([take]))


def search(songs: int, runs: int) -> tuple[float, dict[str, float]]:
    """Seconds to index all songs anew, and the median seconds of each query as a page asks it, over HTTP."""
    with TemporaryDirectory() as folder:
        library = Path(folder)
        fill(library, songs)
        index = Index(library, library / "again.sqlite")
        before = time.perf_counter()
        assert index.rebuild() == []
        rebuilt = time.perf_counter() - before
        assert index.search(Wanted()).total == songs
        index.close()
        with studio(library) as address:
            while (
                ask(address, "/api/songs")["total"] < songs or ask(address, "/api/status")["model"]["state"] != "ready"
            ):
                time.sleep(0.2)
            found = {}
            for query in QUERIES:
                times = []
                for _ in range(runs * 4):
                    before = time.perf_counter()
                    ask(address, f"/api/songs?q={query.replace(' ', '%20')}")
                    times.append(time.perf_counter() - before)
                found[query] = statistics.median(times)
    return rebuilt, found


def making(pages: int, pairs: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds that the worker takes for a song with no page open, and with so many that follow and ask."""
    alone, watched = [], []
    with TemporaryDirectory() as folder, studio(Path(folder)) as address:
        while ask(address, "/api/status")["model"]["state"] != "ready":
            time.sleep(0.1)

        def compose() -> float:
            begun = ask(address, "/api/songs", {"seconds": seconds, "seed": 1})
            before = time.perf_counter()
            while ask(address, f"/api/jobs/{begun['job']['id']}")["state"] in ("queued", "running"):
                time.sleep(0.02)
            return time.perf_counter() - before

        compose()
        for _ in range(pairs):
            alone.append(compose())
            over = threading.Event()
            threads = [threading.Thread(target=watch, args=(address, over), daemon=True) for _ in range(pages)]
            for thread in threads:
                thread.start()
            time.sleep(1)
            watched.append(compose())
            over.set()
            for thread in threads:
                thread.join()
    return alone, watched


def watch(address: str, over: threading.Event) -> None:
    """A page: it follows the events and looks at the state every two seconds."""
    with urllib.request.urlopen(f"{address}/api/events", timeout=120) as events:
        asked = 0.0
        for _ in events:
            if over.is_set():
                return
            if time.perf_counter() - asked > 2:
                asked = time.perf_counter()
                ask(address, "/api/status")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0, help="Length of the song that is made.")
    parser.add_argument("--pairs", type=int, default=15, help="Songs made with no page open and with all, in turn.")
    add_output_options(parser)
    given = parser.parse_args()
    page, model = start(given.runs)
    rebuilt, queries = search(given.songs, given.runs)
    alone, watched = making(given.pages, given.pairs, given.seconds)
    ratios = [after / before - 1 for before, after in zip(alone, watched, strict=True)]
    lower, slower, upper = statistics.quantiles(ratios, n=4)
    slowest = max(queries, key=lambda query: queries[query])
    figures = [
        Figure("page and state are there", "studio", page),
        Figure("model is ready", "studio", model),
        Figure(f"search of {slowest!r} among {given.songs} songs, as a page asks", "studio", [queries[slowest]]),
        Figure(f"index of {given.songs} songs made anew", "studio", [rebuilt]),
        Figure(f"a song of {given.seconds:g} s, no page open", "studio", alone),
        Figure(
            f"the same, {given.pages} pages open",
            "studio",
            watched,
            note=f"{slower:+.1%}, median of pairs (middle half {lower:+.1%} to {upper:+.1%})",
        ),
    ]
    rows = [[figure.what, f"{statistics.median(figure.values):.3f} s", figure.note] for figure in figures]
    text = (
        f"{table(['', 'median', ''], rows)}\n\n{given.runs} runs, {given.pairs} pairs of songs; of {len(queries)} "
        "searches the slowest. The pages follow the events and ask for the state every two seconds, from a process on "
        f"the same two cores. {machine()} Script: `bench/studio.py`."
    )
    publish(given, "studio", text, figures)


if __name__ == "__main__":
    main()
