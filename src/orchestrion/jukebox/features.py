"""Features of many recordings, as files: a folder of vectors that grows and can be gone on with (docs/formats.md)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrion.audio import io
from orchestrion.config import Settings, plain, read_described
from orchestrion.data.manifest import content_hash
from orchestrion.errors import UserError
from orchestrion.files import replacing, write_json
from orchestrion.jukebox.listener import Listener
from orchestrion.library.provenance import SongModel

FORMAT, FORMAT_VERSION = "orchestrion.features", 1
DESCRIPTION = "features.json"


class Recording(Settings):
    """A recording whose features are there: its path as it was given, its length, the file of its features."""

    path: str
    seconds: float
    features: str


class FeaturesInfo(Settings):
    """What `features.json` holds.

    `layer` of the `width` numbers of the top prior of `model`; `mean` of all frames, or one vector for each of
    `frames_per_second`. `recordings` are there when a call is done, those of earlier calls first.
    """

    format: str = FORMAT
    version: int = FORMAT_VERSION
    model: SongModel
    layer: int
    width: int
    mean: bool
    frames_per_second: float
    dtype: str
    recordings: tuple[Recording, ...] = ()


@dataclass(frozen=True)
class Extracted:
    """Progress: recording `done` of `total` has features, or `problem` says why it is left out."""

    path: Path
    done: int
    total: int
    problem: str | None = None


def describe(listener: Listener, model: SongModel, dtype: str, *, mean: bool) -> FeaturesInfo:
    """The description of features that are to be made."""
    grid = listener.info.grid
    return FeaturesInfo(
        model=model,
        layer=listener.layer,
        width=listener.width,
        mean=mean,
        frames_per_second=grid.sample_rate / grid.hop_lengths[grid.top],
        dtype=dtype,
    )


def begin(folder: Path, info: FeaturesInfo) -> FeaturesInfo:
    """See that there is nothing in the folder or such features: their description, with what is there already.

    UserError where it holds anything else. Nothing is written yet.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"there is something else at {folder}", "choose another name with -o")
        return info
    found = read_described(FeaturesInfo, path, "description of features")
    alike = {"recordings": info.recordings, "model": info.model}
    if not found.model.same_weights(info.model) or found.model_copy(update=alike) != info:
        raise UserError(
            f"the features in {folder} were made otherwise: by another model, layer or precision, or mean or not",
            "choose another folder with -o, or ask for the same",
        )
    return found


def extract(listener: Listener, paths: Sequence[Path], folder: Path, info: FeaturesInfo) -> Iterator[Extracted]:
    """Write the features of recordings that `folder` has not got yet; one that cannot be read is left out.

    Files are named by the content of recordings, so that the same is heard once, whatever it is called.
    """
    codec = listener.info.codec
    recordings = {one.path: one for one in info.recordings}
    heard = 0
    for done, path in enumerate(paths, 1):
        try:
            seconds = io.probe(path).seconds
            file = folder / f"{content_hash(path)}.npy"
            if not file.exists():
                audio = io.read(path, codec.sample_rate, codec.channels)
                found = listener.features(audio, codec.sample_rate, mean=info.mean)
                if not (folder / DESCRIPTION).exists():
                    write_json(folder / DESCRIPTION, plain(info))
                with replacing(file) as part, part.open("wb") as opened:
                    np.save(opened, found.numpy(), allow_pickle=False)
        except UserError as error:
            yield Extracted(path, done, len(paths), str(error))
            continue
        recordings[str(path)] = Recording(path=str(path), seconds=round(seconds, 3), features=file.name)
        heard += 1
        yield Extracted(path, done, len(paths))
    if not heard:
        raise UserError("none of these recordings can be heard", "give others")
    write_json(folder / DESCRIPTION, plain(info.model_copy(update={"recordings": tuple(recordings.values())})))
