"""`orchestrion compose --batch`: many songs, on one device, on several, or on a Ray cluster."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, chdir, nullcontext
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import click

from orchestrion.checkpoints import zoo
from orchestrion.cli.compose import WORDS_SUFFIX, check_song, display, files_of, put
from orchestrion.cli.main import STOPPED
from orchestrion.cli.options import check_output, drawn, open_jukebox, refuse_inputs, show_result
from orchestrion.cluster import everywhere, worker_device
from orchestrion.errors import UserError
from orchestrion.files import refuse_overwrite
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox, Progress
from orchestrion.jukebox.batch import Order, read_orders, together
from orchestrion.library.folder import SongFolder, beside
from orchestrion.library.provenance import read_record
from orchestrion.nn.device import chosen_device
from orchestrion.processes import worker_processes

Results = list[dict[str, Any]]
Engine = tuple[tuple[str, Any], ...]
"""What `open_jukebox` is told besides the model, by its names."""
Compose = Callable[[Sequence[Order], str], Results]
"""Makes a group of songs on a device."""


def compose_batch(
    path: Path,
    folder: Path,
    default: Request,
    *,
    model: str,
    engine: dict[str, Any],
    drawing: dict[str, Any],
    lyrics: Path | None,
    most: int,
    on_ray: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the songs of the file `path` in `folder`, each once: what is there from an earlier run is left alone.

    All lines are looked at before the first song is begun. `engine` may name several devices with commas between; each
    has a process of its own, and takes the next group of songs when it is done with one. `on_ray` the cluster's
    processes do, which all see `folder`. The words of `default` are from the file `lyrics`.
    """
    devices = str(engine["device"]).split(",")
    for device in () if on_ray else devices:
        chosen_device(None if device == "auto" else device)  # a UserError now if it is not there
    jukebox = open_jukebox(model, **{**engine, "device": "cpu" if on_ray else devices[0]})
    orders = [_drawn(order, jukebox, drawing) for order in read_orders(path, default)]
    for order in orders:
        prompt = Path(order.request.prime.path) if order.request.prime else None
        refuse_inputs(files_of(folder / order.file), {"--batch": path, "--lyrics": lyrics, "its prompt": prompt})
    left = [order for order in orders if not _is_made(jukebox, order, folder, force=force)]
    if on_ray:  # its workers may have another working directory
        folder, model = folder.absolute(), model if model in zoo.names() else str(Path(model).absolute())
        engine = {**engine, "adapter": engine["adapter"] and engine["adapter"].absolute()}
    compose = partial(compose_group, model, tuple(sorted(engine.items())), folder, force)
    made: Results = []
    try:
        with display(quiet=quiet) as shown:
            bar = shown.add_task("songs", total=len(orders), completed=len(orders) - len(left))
            groups = together(left, most)
            if on_ray:
                results: Iterator[Results] = _on_ray(compose, groups, engine)
            elif len(devices) == 1:

                def tell(event: Progress) -> None:
                    shown.update(
                        bar, description=f"songs ({event.stage} level {event.level}: {event.done}/{event.total})"
                    )

                results = (compose(group, devices[0], tell) for group in groups)
            else:
                results = _everywhere(compose, groups, devices)
            for one in results:
                made += one
                shown.update(bar, advance=len(one), description="songs")
    except KeyboardInterrupt:
        click.echo(f"stopped; what is made is kept in {folder}: the same command goes on with it", err=True)
        raise click.exceptions.Exit(STOPPED) from None
    result = {"folder": str(folder), "songs": len(orders), "made_before": len(orders) - len(left), "made": made}
    show_result(result, "folder", as_json=as_json)


def compose_group(
    model: str,
    engine: Engine,
    folder: Path,
    replace: bool,
    orders: Sequence[Order],
    device: str,
    tell: Callable[[Progress], None] | None = None,
) -> Results:
    """Make songs together on `device` and write them into `folder`; `tell` hears how far they are."""
    jukebox = _opened(model, engine, device)
    outputs = [folder / order.file for order in orders]
    requests, folders = [order.request for order in orders], [beside(output) for output in outputs]
    composition = jukebox.compose_all(requests, folders, replace=replace)
    for event in composition:
        if tell:
            tell(event)
    songs = composition.finish()
    return [put(song, output, replace=replace) for song, output in zip(songs, outputs, strict=True)]


@lru_cache(maxsize=1)
def _opened(model: str, engine: Engine, device: str) -> Jukebox:
    """The model of a process, for one group of songs after another."""
    return open_jukebox(model, **{**dict(engine), "device": device})


def _drawn(order: Order, jukebox: Jukebox, drawing: dict[str, Any]) -> Order:
    """The order with nothing left open of how its codes are drawn, unless its line says that itself."""
    if order.request.sampling:
        return order
    return order.model_copy(update={"request": drawn(order.request, jukebox.info, drawing)})


def _is_made(jukebox: Jukebox, order: Order, folder: Path, *, force: bool) -> bool:
    """Whether a song is there, whole; UserError where its place is taken, or it cannot be made."""
    output = folder / order.file
    try:
        kept = jukebox.is_kept(order.request, beside(output), replace=force)
    except UserError as error:
        raise UserError(f"{order.file}: {error.problem}", error.hint) from error
    picture = output.with_suffix(".png")
    if kept:
        song, record = SongFolder.open(beside(output)), read_record(output)
        if record is None:
            check_song(output, force=force)
            return False
        if song.is_of(record):
            finished = all(made >= wanted for made, wanted in song.frames()[order.request.finest_level :])
            return finished and output.exists() and picture.exists()
        # What is there was written of the song that this one was begun in place of.
    check_output(output, force=force)
    for written in (picture, *([output.with_suffix(WORDS_SUFFIX)] if order.request.lyrics else [])):
        refuse_overwrite(written, force)
    return False


def _everywhere(compose: Compose, groups: Iterable[Sequence[Order]], devices: Sequence[str]) -> Iterator[Results]:
    """What comes of the groups, as they are done, by a process for each device."""
    waiting = iter(groups)
    with ExitStack() as stack:
        pools = [stack.enter_context(worker_processes(1)) for _ in devices]
        busy: dict[Future[Results], int] = {}
        for place, group in zip(range(len(devices)), waiting, strict=False):
            busy[pools[place].submit(compose, group, devices[place])] = place
        while busy:
            done, _ = wait(busy, return_when=FIRST_COMPLETED)
            for future in done:
                place = busy.pop(future)
                for group in islice(waiting, 1):
                    busy[pools[place].submit(compose, group, devices[place])] = place
                try:
                    yield future.result()
                except BrokenProcessPool as error:
                    raise UserError(
                        f"the process on {devices[place]} was ended from outside, perhaps for want of memory",
                        "give the same command again, with fewer songs --together",
                    ) from error


def _on_ray(compose: Compose, groups: Iterable[Sequence[Order]], engine: dict[str, Any]) -> Iterator[Results]:
    """What comes of the groups, as they are done, by the processes of a Ray cluster: on CUDA each has a GPU."""
    device = worker_device(str(engine["device"]))
    work = partial(_compose_on, compose, Path.cwd(), device)
    yield from everywhere(work, groups, num_cpus=engine["threads"] or 1, num_gpus=int(device == "cuda"))


def _compose_on(compose: Compose, place: Path, device: str, orders: Sequence[Order]) -> Results:
    """Make songs where the command was given, if that is to be seen here: records name prompts as they were named."""
    with chdir(place) if place.is_dir() else nullcontext():
        return compose(orders, device)
