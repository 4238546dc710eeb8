"""Whether an audio file is what its records say, and whether it can be made again."""

from dataclasses import dataclass, replace
from pathlib import Path

import soundfile
import torch

from orchestrion.audio import io
from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.adapter import Adapter
from orchestrion.checkpoints.folder import damaged, model_sha256
from orchestrion.codes import Codes
from orchestrion.config import plain
from orchestrion.errors import UserError
from orchestrion.files import file_sha256
from orchestrion.jukebox.model import Jukebox
from orchestrion.jukebox.song import Song
from orchestrion.library import signing
from orchestrion.library.folder import SongFolder, beside, codes_sha256, is_begun
from orchestrion.library.provenance import Made, Record, SongAdapter, SongModel, read_made, read_record, sidecar
from orchestrion.version import __version__


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `agrees` is None for what could not be checked."""

    what: str
    agrees: bool | None
    says: str


@dataclass(frozen=True)
class Known:
    """What the records of a file say: in its tags, beside it, in its signature. At least one of them is there."""

    path: Path
    tags: Made | None
    record: Record | None
    signature: signing.Signature | None

    @property
    def made(self) -> Made | None:
        """The record beside the file where there is one, else that in its tags."""
        return self.record.made if self.record else self.tags


def known(path: Path) -> Known:
    """All that a file says about what made it; UserError if it is not there or says nothing."""
    tags, record = read_made(path), read_record(path)
    signature = signing.read_signature(path) if signing.is_installed() else None
    if tags is None and record is None and signature is None:
        raise UserError(
            f"nothing says what made {path}: neither its tags nor a record beside it",
            f"bring {sidecar(path).name} along if there was one; files that orchestrion writes have both",
        )
    return Known(path, tags, record, signature)


def verify(path: Path) -> tuple[Known, list[Finding]]:
    """Compare a file with its records, and those with one another and with the model at hand.

    UserError if the file is not there, or nothing says what made it.
    """
    there = known(path)
    findings = [_tags(there), _bytes(there), _signature(there)]
    if there.made:
        findings += [*_codes_kept(there), _model(there.made, made_by(path, there.made))]
    return there, findings


def made_by(path: Path, made: Made) -> SongModel:
    """The model that made a file, and where it is: of a song whose folder is beside it that tells its whole path."""
    folder = beside(path)
    try:
        kept = SongFolder.open(folder).info.model if is_begun(folder) else None
    except UserError:  # a damaged folder tells nothing; `verify` says so
        kept = None
    return kept if kept and kept.same_weights(made.model) else made.model


def again(made: Made, jukebox: Jukebox, song: Song) -> Song:
    """A song that was made again, as audio of the level that the recorded file has, its prompt named as it was then."""
    assert song.info
    request = {**song.info.request, "prime": made.request.get("prime")}
    song = replace(song, info=song.info.model_copy(update={"request": request}))
    if made.level == song.level:
        return song
    audio = jukebox.decode(song.codes, made.level)[:, : song.audio.shape[-1]]
    return replace(song, sound=audio, level=made.level)


def differences(there: Known, song: Song, remade: Path) -> list[str]:
    """In what a file made again, `remade` of `song`, differs from the original; nothing if the bytes are the same."""
    record, original = there.record, there.path
    if record and record.unsigned_sha256:
        if file_sha256(original) != record.sha256:
            return [f"{original} was changed since it was signed", *_sound(original, remade)]
        if file_sha256(remade) == record.unsigned_sha256:
            return []
    elif file_sha256(remade) == file_sha256(original):
        return []
    return [*_circumstances(there, song), *_codes(there, song), *_sound(original, remade)]


def _tags(there: Known) -> Finding:
    if there.tags is None:
        return Finding("tags", False if there.record else None, "the file carries no record in its tags")
    if there.record and there.record.made != there.tags:
        names = ", ".join(_differing(there.record.made, there.tags))
        return Finding("tags", False, f"the tags and the record beside the file differ in {names}")
    return Finding("tags", True, there.tags.notice)


def _differing(one: Made, other: Made) -> list[str]:
    first, second = plain(one), plain(other)
    names = [name for name in {**first, **second} if name != "request" and first.get(name) != second.get(name)]
    asked, told = first["request"], second["request"]
    return names + [f"request.{name}" for name in sorted({*asked, *told}) if asked.get(name) != told.get(name)]


def _bytes(there: Known) -> Finding:
    if there.record is None:
        return Finding("bytes", None, f"there is no {sidecar(there.path).name} to compare the bytes with")
    same = file_sha256(there.path) == there.record.sha256
    date = there.record.date
    return Finding("bytes", same, f"as written at {date}" if same else f"not those that were written at {date}")


def _signature(there: Known) -> Finding:
    found = there.signature
    if found is None:
        signed = bool(there.record and there.record.unsigned_sha256)
        if signed and not signing.is_installed():
            return Finding("signature", None, 'cannot be checked here: pip install "orchestrion[provenance]"')
        says = "there was one and it is gone" if signed else "not signed"
        return Finding("signature", False if signed else None, says)
    if found.state == "Invalid":
        return Finding("signature", False, f"does not fit the file: {', '.join(found.problems)}")
    if there.made and found.made != plain(there.made):
        return Finding("signature", False, "what was signed differs from the other records")
    trust = "trusted" if found.state == "Trusted" else "valid, by someone whom nobody vouches for"
    return Finding("signature", True, f"{trust}: {found.signer}")


def _codes_kept(there: Known) -> list[Finding]:
    """Whether the song that is beside a file is the one that the file was made from."""
    folder = beside(there.path)
    if not is_begun(folder) or there.record is None:
        return []
    try:
        song = SongFolder.open(folder)
        same = song.info.has_made(there.record.made)
        same_codes = codes_sha256(song.codes()) == there.record.codes_sha256
    except UserError as error:
        return [Finding("codes", False, str(error))]
    if same and same_codes:
        return [Finding("codes", True, f"those of {folder.name}")]
    what = "its codes are others now" if same else "it is another song"
    return [Finding("codes", False, f"the file was not made from {folder.name} as it is: {what}")]


def _model(made: Made, by: SongModel) -> Finding:
    name = made.model.name
    try:
        folder = zoo.locate(by.name)
    except UserError:
        return Finding("model", None, f"{name!r} is not at hand")
    if model_sha256(folder) != made.model.sha256:
        return Finding("model", False, f"{name!r} here is not the model that made the file")
    broken = damaged(folder)
    if broken:
        return Finding("model", False, f"{', '.join(broken)} of {name!r} here is missing or damaged")
    if made.model.adapter:
        return _adapter(made.model.adapter, by)
    return Finding("model", True, f"{name!r} here is the one that made the file")


def _adapter(made: SongAdapter, by: SongModel) -> Finding:
    """The adapter of a model that is at hand."""
    assert by.adapter is not None
    try:
        same = Adapter(Path(by.adapter.name)).sha256 == made.sha256
    except UserError:
        return Finding("model", None, f"{Path(by.name).name!r} is here; its adapter {made.name!r} is not at hand")
    says = "are those" if same else "are not both those"
    return Finding(
        "model", same, f"{Path(by.name).name!r} and its adapter {made.name!r} here {says} that made the file"
    )


def _circumstances(there: Known, song: Song) -> list[str]:
    """What was otherwise when the file was made."""
    assert there.made and song.info
    then, now, made = there.record.engine if there.record else None, song.info.engine, there.made
    found = []
    if made.model.sha256 != song.info.model.sha256:
        found.append(
            f"the model is another: {made.model.sha256[:12]}… made the file, {song.info.model.sha256[:12]}… is here"
        )
    elif not made.model.same_weights(song.info.model):
        found.append(f"the adapter is another: {_named(made.model)} made the file, {_named(song.info.model)} is here")
    if made.orchestrion != __version__:
        found.append(f"orchestrion {made.orchestrion} made the file, this is {__version__}")
    if then and now:
        before, after = plain(then), plain(now)
        found += [f"{name} was {before[name]}, is {after[name]}" for name in before if before[name] != after[name]]
    return found


def _named(model: SongModel) -> str:
    return f"{model.adapter.name} ({model.adapter.sha256[:12]}…)" if model.adapter else "none"


def _codes(there: Known, song: Song) -> list[str]:
    """The first code that differs, where the song's folder tells; else whether any does."""
    if there.record is None:
        return []
    if there.record.codes_sha256 == codes_sha256(song.codes):
        return ["the codes are the same"]
    folder = beside(there.path)
    kept = SongFolder.open(folder).codes() if folder.is_dir() else None
    if kept is None or codes_sha256(kept) != there.record.codes_sha256:
        return ["the codes differ"]
    return _first_code(kept, song.codes)


def _first_code(before: Codes, after: Codes) -> list[str]:
    for level in range(before.grid.top, -1, -1):
        one, other = before.levels[level], after.levels[level]
        if one is None or other is None:
            if one is not other:
                return [f"level {level} is made in one of them only"]
            continue
        if one.shape != other.shape:
            return [f"level {level} has {one.shape[1]} codes, now {other.shape[1]}"]
        places = (one != other).any(0).nonzero()
        if len(places):
            frame = int(places[0])
            return [
                f"the codes differ from level {level}, code {frame} on ({frame / before.grid.frame_rate(level):.2f} s)"
            ]
    return []


def _sound(original: Path, remade: Path) -> list[str]:
    """The first sample that differs between two files."""
    try:
        (before, rate), (after, _) = (
            soundfile.read(path, dtype="float32", always_2d=True) for path in (original, remade)
        )
    except soundfile.LibsndfileError:
        return [f"the sound of {original} cannot be read"]
    one, other = torch.from_numpy(before), torch.from_numpy(after)
    if one.shape != other.shape:
        return [f"the sound has {len(one)} samples of {one.shape[1]} channels, now {len(other)} of {other.shape[1]}"]
    places = (one != other).any(1).nonzero()
    if not len(places):
        return ["the sound is the same; the bytes around it differ"]
    sample = int(places[0])
    return [f"the sound differs from sample {sample} on ({sample / rate:.3f} s)"]


def check_same_format(original: Path, output: Path) -> None:
    """Raise UserError for a place where a file made again could not be compared."""
    io.check_suffix(output)
    if output.suffix.lower() != original.suffix.lower():
        raise UserError(f"{output} would be of another format than {original}", f"end its name with {original.suffix}")
