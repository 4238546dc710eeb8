"""What made an audio file: `songs verify`, `songs replay`, `songs sign`."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrion.cli.compose import watch
from orchestrion.cli.options import (
    DTYPES,
    MOST_THREADS,
    PATH,
    check_output,
    force_option,
    json_option,
    quiet_option,
    refuse_inputs,
    show_result,
)
from orchestrion.errors import UserError

if TYPE_CHECKING:
    from orchestrion.generate.request import Request
    from orchestrion.jukebox import Jukebox
    from orchestrion.library.provenance import Made, Record, SongModel

DIFFERS = 1
"""Exit status where something is not what the records say."""


@click.command()
@click.argument("file", type=PATH)
@json_option
def verify(file: Path, as_json: bool) -> None:
    """Compare FILE with what its tags, the record beside it and its signature say, and with the model at hand.

    Status 1 means that something differs.
    """
    from orchestrion.config import plain
    from orchestrion.jukebox import provenance

    there, findings = provenance.verify(file)
    words = {True: "agrees", False: "DIFFERS", None: "not checked"}
    agrees = all(finding.agrees is not False for finding in findings)
    result: dict[str, Any] = {
        "file": str(file),
        "agrees": agrees,
        "findings": [{"what": one.what, "agrees": one.agrees, "says": one.says} for one in findings],
        "made": plain(there.made) if there.made else there.signature and there.signature.made,
        "date": there.record.date if there.record else None,
    }
    lines = [f"{file}: " + ("nothing contradicts its records" if agrees else "something differs")]
    if there.made:
        lines.append(
            f"  made by    {there.made.model.name}, orchestrion {there.made.orchestrion}, "
            f"seed {there.made.request.get('seed')}, level {there.made.level}"
        )
    lines += [f"  {one.what:<10} {words[one.agrees]}: {one.says}" for one in findings]
    _show(result, lines, agrees, as_json=as_json)


@click.command()
@click.argument("file", type=PATH)
@click.option("-o", "--output", type=PATH, help="Keep what is made here.  [default: it is compared and dropped]")
@click.option("--source", type=PATH, help="The song that FILE was made from, or the file that it was primed with.")
@click.option("--model", help="Name or folder of the model.  [default: the one that made the file]")
@click.option("--adapter", type=PATH, help="Folder of the adapter that the file was made with, if there was one.")
@click.option("--device", help="[default: as then]")
@force_option
@json_option
@quiet_option
def replay(
    file: Path,
    output: Path | None,
    source: Path | None,
    model: str | None,
    adapter: Path | None,
    device: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make FILE again from its record and say whether the bytes are the same, or what differs.

    Status 1 means that they differ.
    """
    from orchestrion.jukebox import provenance
    from orchestrion.library.provenance import sidecar

    there = provenance.known(file)
    if there.made is None:
        raise UserError(f"only the signature of {file} says what made it", "bring the record that stood beside it")
    if output:
        provenance.check_same_format(file, output)
        check_output(output, force=force)
    request = _request(there.made, file, source)
    if output:
        prompt = Path(request.prime.path) if request.prime else None
        refuse_inputs((output, sidecar(output)), {"FILE": file, "--source": source, "its prompt": prompt})
    codes = _source_codes(request, file, source)
    jukebox = _open(there.made, there.record, provenance.made_by(file, there.made), model, adapter, device)
    made, _ = watch(jukebox.again(request, codes), quiet=quiet)
    song = provenance.again(there.made, jukebox, made)
    with tempfile.TemporaryDirectory() as folder:
        remade = Path(folder) / f"again{file.suffix}"
        song.save(remade)
        differing = provenance.differences(there, song, remade)
    if output:
        song.save(output, replace=force)
    result = {"file": str(file), "same": not differing, "differences": differing, "audio": output and str(output)}
    before_signing = " as before it was signed" if there.record and there.record.unsigned_sha256 else ""
    lines = [f"{file}: the same bytes{before_signing}" if not differing else f"{file}: not the same bytes"]
    _show(result, lines + [f"  {one}" for one in differing], not differing, as_json=as_json)


@click.command()
@click.argument("file", type=PATH)
@click.option("-o", "--output", type=PATH, help="[default: FILE-signed]")
@click.option("--certificate", type=PATH, help="Your certificate and those above it, as PEM.  [default: self-signed]")
@click.option("--key", type=PATH, help="Its private key, as PEM without a password.")
@force_option
@json_option
def sign(
    file: Path, output: Path | None, certificate: Path | None, key: Path | None, force: bool, as_json: bool
) -> None:
    """Write a copy of FILE with a signed C2PA manifest of what made it.

    Without a certificate of yours one is made for this file: whoever reads it sees that nothing was changed, not
    who signed. Needs the extra `provenance`.
    """
    from orchestrion.files import file_sha256
    from orchestrion.library import signing
    from orchestrion.library.provenance import read_made, read_record, sidecar, write_signed_record

    signing.check_suffix(file)
    output = output or file.with_stem(f"{file.stem}-signed")
    made, record = read_made(file), read_record(file)
    if made is None or record is None:
        raise UserError(f"{file} lacks its record, in its tags or beside it", "sign a file as orchestrion wrote it")
    if record.made != made or record.sha256 != file_sha256(file):
        raise UserError(f"{file} is not what its record says", "see what differs: orchestrion songs verify")
    if record.unsigned_sha256:
        raise UserError(f"{file} is signed already", "sign the file that it was made from")
    if (certificate is None) != (key is None):
        raise UserError("a certificate goes with its key", "give both --certificate and --key, or neither")
    if output.suffix.lower() != file.suffix.lower():
        raise UserError(f"{output} cannot be a signed copy of {file}", f"choose another name, ending in {file.suffix}")
    check_output(output, force=force)
    refuse_inputs((output, sidecar(output)), {"FILE": file, "--certificate": certificate, "--key": key})
    credentials = signing.read_credentials(certificate, key) if certificate and key else signing.self_signed()
    signing.sign(file, output, made, credentials, record.date)
    write_signed_record(output, record)
    show_result({"audio": str(output), "self_signed": certificate is None}, "audio", as_json=as_json)


def _request(made: "Made", file: Path, source: Path | None) -> "Request":
    """What was asked, its prompt looked for where it was named, here and beside the file."""
    from orchestrion.config import read_settings
    from orchestrion.generate.request import Request
    from orchestrion.jukebox.asked import recorded

    request = read_settings(Request, recorded(made.request), f"the record of {file}")
    if made.begins_with is not None:
        raise UserError(
            f"{file} begins with a sound or codes that its record does not hold, so it cannot be made again from it",
            "compose it again as it was, in Python from the same ones",
        )
    if request.prime is None:
        return request
    places = [source] if source else [Path(request.prime.path), file.parent / request.prime.path]
    for place in places:
        if place.is_file():
            return request.changed(prime=request.prime.model_copy(update={"path": str(place)}))
    raise UserError(f"{file} was primed with {request.prime.path}, which is not here", "name it with --source")


def _source_codes(request: "Request", file: Path, source: Path | None) -> Any:
    from orchestrion.library.folder import beside, find

    if request.origin is None:
        return None
    place = source or beside(file.parent / f"{Path(request.origin.song).name}.song")
    if source is None and not place.is_dir():
        raise UserError(
            f"{file} was made from {request.origin.song!r} ({request.origin.act}), which is not beside it",
            "name that song with --source",
        )
    return find(place).codes()


def _open(
    made: "Made",
    record: "Record | None",
    by: "SongModel",
    model: str | None,
    adapter: Path | None,
    device: str | None,
) -> "Jukebox":
    """The model, held and computed as then as far as the record tells and this machine can.

    Of a song beside the file `by` says where its model is.
    """
    import torch

    from orchestrion.checkpoints import zoo
    from orchestrion.jukebox import Jukebox
    from orchestrion.nn.compiled import can_compile
    from orchestrion.nn.device import chosen_device

    then = record.engine if record else None
    try:
        folder = zoo.locate(model or by.name)
    except UserError as error:
        if model:
            raise
        raise UserError(f"the model {made.model.name!r} that made the file is not here", "name it: --model") from error
    if by.adapter and adapter is None:
        adapter = Path(by.adapter.name)
        if not (adapter / zoo.ADAPTER).is_file():
            raise UserError(
                f"the file was made with the adapter {adapter.name!r}, which is not here", "give its folder: --adapter"
            )
    if then is None:
        return Jukebox(folder, name=made.model.name, adapter=adapter, device=device)
    if then.dtype not in DTYPES:
        raise UserError(f"weights cannot be held as {then.dtype!r}", f"known are {', '.join(DTYPES)}: mend the record")
    if then.threads > MOST_THREADS:
        raise UserError(f"nothing works with {then.threads} threads", f"mend the record: {MOST_THREADS} at the most")
    try:
        where = chosen_device(device or then.device)
    except UserError as error:
        raise UserError(error.problem, "name another with --device: the bytes may be others there") from error
    torch.set_num_threads(then.threads)
    return Jukebox(
        folder,
        name=made.model.name,
        adapter=adapter,
        device=where,
        dtype=getattr(torch, then.dtype),
        weights=then.weights,
        compiled=then.compiled and can_compile(where),
    )


def _show(result: dict[str, Any], lines: list[str], good: bool, *, as_json: bool) -> None:
    show_result(result if as_json else {"text": "\n".join(lines)}, "text", as_json=as_json)
    if not good:
        raise click.exceptions.Exit(DIFFERS)
