"""`orchestrion studio`: the page to compose on; `orchestrion map`: artists and genres as a model learned them."""

from pathlib import Path

import click

from orchestrion.cli.options import PATH, adapter_option, force_option, json_option, show_result, threads_option
from orchestrion.errors import UserError

LIBRARY = "~/Orchestrion"


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any that is free.")
@click.option("--no-browser", is_flag=True, help="Do not open the page.")
@click.option("--library", type=PATH, default=Path(LIBRARY), show_default=True, help="Where the songs are kept.")
@click.option("--model", default="mini", show_default=True, help="Name or folder of the model.")
@click.option("--host", help="Let others on the network in by this address of the machine; needs --token.")
@click.option(
    "--allow-host",
    "allowed",
    metavar="NAME",
    multiple=True,
    help="Answer to this name too, such as that of a proxy; may be given often; needs --token.",
)
@click.option("--token", help="The secret that others need.")
@adapter_option
@threads_option
def studio(
    port: int,
    no_browser: bool,
    library: Path,
    model: str,
    adapter: Path | None,
    host: str | None,
    allowed: tuple[str, ...],
    token: str | None,
    threads: int | None,
) -> None:
    """Open the Studio: compose, choose, go on, search, in a browser, with the model on this machine."""
    try:
        from orchestrion.web.server import serve
    except ImportError as error:
        raise UserError(f"the Studio needs {error.name}", 'install it: pip install "orchestrion[studio]"') from error
    serve(
        library,
        model=model,
        adapter=adapter,
        host=host,
        port=port,
        token=token,
        browser=not no_browser,
        threads=threads,
        allowed=allowed,
    )


@click.command("map")
@click.argument("model", default="mini")
@click.option("-o", "--output", type=PATH, default=Path("map.png"), show_default=True, help="The picture.")
@click.option("--songs", type=PATH, multiple=True, help="Songs to be put on a map of their own; may be given often.")
@adapter_option
@force_option
@json_option
def map_(model: str, output: Path, songs: tuple[Path, ...], adapter: Path | None, force: bool, as_json: bool) -> None:
    """Draw MODEL's artists and genres, as it learned them, as points of a plane: neighbours are alike to it.

    Beside the picture stands the same as JSON.
    """
    from orchestrion.audio import io
    from orchestrion.config import plain
    from orchestrion.files import check_writable, refuse_overwrite, write_json
    from orchestrion.jukebox import Jukebox
    from orchestrion.jukebox.map import label_points, song_points, song_vector
    from orchestrion.library.picture import draw_map

    if output.suffix.lower() != ".png":
        raise UserError(f"the map cannot be drawn as {str(output)!r}", "end the name with .png")
    data = output.with_suffix(".json")
    for path in (output, data):
        refuse_overwrite(path, force)
    for song in songs:
        io.probe(song)  # a UserError now if it cannot be read
    check_writable(output.parent)
    jukebox = Jukebox.from_pretrained(model, adapter=adapter)
    points = label_points(jukebox)
    if not points:
        raise UserError(f"the model {jukebox.name!r} has no names of artists", "take a model that was trained here")
    heard = []
    if songs:
        listener = jukebox.listener()
        heard = song_points([song_vector(listener, song) for song in songs], [song.stem for song in songs])
    draw_map(output, [plain(point) for point in points], [plain(point) for point in heard], title=jukebox.name)
    result = {"model": jukebox.name, "points": [plain(point) for point in (*points, *heard)]}
    write_json(data, result)
    show_result({"picture": str(output), "data": str(data), **result}, "picture", as_json=as_json)
