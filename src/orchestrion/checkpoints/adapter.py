"""An adapter on disk: what a model learned besides, to be loaded beside it (docs/formats.md)."""

from pathlib import Path
from typing import Any

from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor

from orchestrion.checkpoints.folder import ModelInfo, check_names_and_shapes, model_sha256, read_tensors
from orchestrion.checkpoints.zoo import ADAPTER as DESCRIPTION
from orchestrion.checkpoints.zoo import locate_adapter
from orchestrion.config import Settings, plain, read_described
from orchestrion.config.training import AdapterConfig
from orchestrion.errors import UserError
from orchestrion.files import file_sha256, replacing, write_json
from orchestrion.prior.adapt import adapt, grow, learned, settle
from orchestrion.prior.masked import AnyPrior
from orchestrion.text.vocab import Vocabulary

ADAPTER_FORMAT = "orchestrion.adapter"
FORMAT_VERSION = 1
WEIGHTS = "adapter.safetensors"


class AdapterInfo(Settings):
    """What `adapter.json` holds.

    `model` is the name of the model that it belongs to and `model_sha256` the hash of its description. `levels` are
    those that learned; `vocabulary` has the model's names, then the new ones. `about` is free.
    """

    format: str = ADAPTER_FORMAT
    version: int = FORMAT_VERSION
    name: str
    model: str
    model_sha256: str
    levels: tuple[int, ...] = Field(min_length=1)
    vocabulary: Vocabulary
    update: AdapterConfig
    about: dict[str, Any] = Field(default_factory=dict)
    sha256: str


def write_adapter(folder: Path, info: AdapterInfo, tensors: dict[int, dict[str, Tensor]]) -> None:
    """Write what was learned at each level, the description last; its `sha256` is taken from what is written."""
    named = {
        f"level_{level}.{name}": tensor.detach().cpu().contiguous().clone()
        for level, own in tensors.items()
        for name, tensor in own.items()
    }
    for name, tensor in named.items():
        if not tensor.isfinite().all():
            raise UserError(f"{name} of the adapter is not finite", "train it anew at a lower learning rate")
    with replacing(folder / WEIGHTS) as part:
        save_file(named, part)
    write_json(folder / DESCRIPTION, plain(info.model_copy(update={"sha256": file_sha256(folder / WEIGHTS)})))


class Adapter:
    """An adapter, opened; its weights are read when a prior is fitted with them."""

    def __init__(self, folder: Path) -> None:
        """UserError for a folder without an adapter, or one of a later format."""
        self.folder = locate_adapter(folder)
        path = folder / DESCRIPTION
        self.info = read_described(AdapterInfo, path, "description of an adapter")
        self.sha256 = file_sha256(path)

    def belongs_to(self, folder: Path) -> bool:
        """Whether it was trained beside the model in `folder`."""
        return self.info.model_sha256 == model_sha256(folder)

    def grown(self, folder: Path, info: ModelInfo) -> ModelInfo:
        """The description of the model in `folder` with the adapter's names; UserError for another model."""
        if not self.belongs_to(folder):
            raise UserError(
                f"{self.folder} belongs to the model {self.info.model!r}, and {folder} is another",
                "take the model that it was trained beside",
            )
        names, known = self.info.vocabulary, info.vocabulary
        if (names.artists[: len(known.artists)], names.genres[: len(known.genres)]) != (known.artists, known.genres):
            raise UserError(
                f"the names in {self.folder / DESCRIPTION} do not begin with those of the model",
                "get the adapter again",
            )
        priors = tuple(
            prior
            and prior.model_copy(
                update={
                    "labels": prior.labels
                    and prior.labels.model_copy(
                        update={"num_artists": names.num_artists, "num_genres": names.num_genres}
                    )
                }
            )
            for prior in info.priors
        )
        return info.model_copy(update={"vocabulary": names, "priors": priors})

    def fit(self, prior: AnyPrior, level: int, *, partly: bool = False) -> None:
        """Make the model's prior of `level` what it learned to be; `partly` for one that has its first layers alone."""
        path = self.folder / WEIGHTS
        if not path.is_file() or file_sha256(path) != self.info.sha256:
            raise UserError(f"{path} is missing or not the file that {DESCRIPTION} describes", "get the adapter again")
        prefix = f"level_{level}."
        found = read_tensors(path)
        tensors = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        if prior.labels is not None:
            names, labels = self.info.vocabulary, prior.labels
            tables = (labels.artist, names.num_artists), (labels.genre, names.num_genres)
            more = [table.weight.new_empty(count - len(table.weight), table.weight.shape[1]) for table, count in tables]
            wanted = dict(zip(("labels.artist.added", "labels.genre.added"), more, strict=True))
            check_names_and_shapes(path, {name: tensors[name] for name in wanted.keys() & tensors.keys()}, wanted)
            grow(prior, *(tensors[name] for name in wanted))
        if level in self.info.levels:
            adapt(prior, self.info.update)
        wanted = learned(prior)
        tensors = {name: value for name, value in tensors.items() if not partly or name in wanted}
        check_names_and_shapes(path, tensors, wanted)
        prior.load_state_dict({name: tensors[name].to(wanted[name]) for name in wanted}, strict=False)
        settle(prior)
        for parameter in prior.parameters():
            parameter.requires_grad_(False)
        prior.eval()
