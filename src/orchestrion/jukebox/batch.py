"""Many songs asked for in one file: what each line asks for, and which of them are made together."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrion.audio.io import check_suffix
from orchestrion.config import Settings, plain, read_settings
from orchestrion.errors import UserError
from orchestrion.files import read_text
from orchestrion.generate.request import Request

SUFFIX = ".flac"


class Order(Settings):
    """A song to be made into a file of this name."""

    file: str
    request: Request


def read_orders(path: Path, default: Request) -> tuple[Order, ...]:
    """The songs of a file with a JSON object in each line: settings of `Request` that differ from `default`.

    `file` names the song's file, by default song-0001.flac and so on, its number that of the line. Without a `seed`
    each line has its own: the default's in the first line, one more in each further one. UserError lists every line
    that cannot be used.
    """
    orders, problems = [], []
    for number, line in enumerate(read_text(path, "requests").split("\n"), 1):
        if not line.strip():
            continue
        try:
            orders.append(_order(line, number, default))
        except UserError as error:
            problems.append(f"line {number}: {error}")
    names = Counter(Path(order.file).stem.casefold() for order in orders)
    problems += [
        f"{' and '.join(order.file for order in orders if Path(order.file).stem.casefold() == name)} would share a "
        "song folder"
        for name, count in sorted(names.items())
        if count > 1
    ]
    if problems:
        raise UserError(f"{path} cannot be used: {'; '.join(problems)}", "correct these lines")
    if not orders:
        raise UserError(f"{path} asks for no song", 'write a line for each, such as {"artist": "Bach", "seconds": 20}')
    return tuple(orders)


def together(orders: Sequence[Order], most: int) -> Iterator[tuple[Order, ...]]:
    """The orders in groups of at most `most` that `Jukebox.compose_all` takes; a primed song is alone."""

    def kind(order: Order) -> str:
        asked = plain(order.request)
        alone = order.file if order.request.prime else ""
        return json.dumps([alone, *(asked[name] for name in ("seconds", "sampling", "finest_level"))])

    for _, alike in groupby(sorted(orders, key=kind), kind):
        group = tuple(alike)
        yield from (group[first : first + most] for first in range(0, len(group), most))


def _order(line: str, number: int, default: Request) -> Order:
    try:
        given: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"is not JSON ({error.msg})", "write one object in each line") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists as deep
        raise UserError("holds what cannot be read", "write one object in each line") from error
    if not isinstance(given, dict):
        raise UserError("is not a JSON object", "write one object in each line")
    file = given.pop("file", f"song-{number:04}{SUFFIX}")
    if not isinstance(file, str) or Path(file).name != file:
        raise UserError(f"{file!r} is not the name of a file", "give a name without folders")
    check_suffix(Path(file))
    asked = {**plain(default), "seed": default.seed + number - 1, **given}
    request = read_settings(Request, asked, "what it asks for")
    if request.origin:
        raise UserError("is of a song made from another", "make it with continue, upsample or repaint")
    return Order(file=file, request=request)
