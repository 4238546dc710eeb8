"""A model on disk: `model.json`, weights as safetensors, a card (docs/formats.md)."""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.memory import MEMORY
from orchestrion.checkpoints.zoo import DESCRIPTION
from orchestrion.codec.model import Codec
from orchestrion.config import CodecConfig, Settings, plain, read_described
from orchestrion.config.prior import PriorConfig
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.files import explained, file_sha256, refuse_overwrite, replacing, write_json, write_text
from orchestrion.grid import Grid
from orchestrion.nn.fast import Weights
from orchestrion.prior.masked import AnyPrior, make_prior
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.lyrics import Spelling
from orchestrion.text.published import PublishedNames
from orchestrion.text.vocab import Vocabulary, called

MODEL_FORMAT = "orchestrion.model"
FORMAT_VERSION = 1
CARD, CODEC = "README.md", "codec.safetensors"

M = TypeVar("M", bound=nn.Module)


def prior_file(level: int) -> str:
    return f"prior_{level}.safetensors"


class ModelInfo(Settings):
    """What `model.json` holds: all of a model but its weights.

    `priors` and `sampling` have an entry per level; a level without a prior has None. `wordless`, where it is there,
    likewise: it takes the place of `sampling` for songs without lyrics. `published_names` likewise, in a
    model that was imported: there each prior has names of its own and `vocabulary` is empty. `weights` is how those of
    its priors are best held while they draw on a processor, as measured. `about` is free: licence, provenance, figures.
    `alphabet` spells the lyrics of a model of ours that sings. `sha256` has the hash of each file of weights.
    """

    format: str = MODEL_FORMAT
    version: int = FORMAT_VERSION
    name: str
    codec: CodecConfig
    priors: tuple[PriorConfig | None, ...] = ()
    vocabulary: Vocabulary = Vocabulary()
    published_names: tuple[PublishedNames | None, ...] = ()
    alphabet: Alphabet | None = None
    sampling: tuple[LevelSampling, ...] = ()
    wordless: tuple[LevelSampling, ...] = ()
    weights: Weights | None = None
    about: dict[str, Any] = Field(default_factory=dict)
    sha256: dict[str, str] = Field(default_factory=dict)

    @property
    def grid(self) -> Grid:
        return self.codec.grid

    @property
    def learned_from(self) -> tuple[str, ...]:
        """Content hashes of the recordings that its parts learned from, where it says so; else none."""
        return tuple(self.about.get("learned_from", ()))

    @property
    def artists(self) -> tuple[str, ...]:
        """The names that may be asked for, in an imported model those of its top prior."""
        names = self.published_names[-1] if self.published_names else None
        return self.vocabulary.artists if names is None else tuple(names.artists)

    @property
    def genres(self) -> tuple[str, ...]:
        """Likewise."""
        names = self.published_names[-1] if self.published_names else None
        return self.vocabulary.genres if names is None else tuple(names.genres)

    def artist_called(self, name: str | None) -> str | None:
        """An artist as this model spells the name; None where it knows none of that name."""
        return None if name is None else called(self.artists, name)

    def genre_called(self, name: str | None) -> str | None:
        """Likewise."""
        return None if name is None else called(self.genres, name)

    def drawing(self, lyrics: str) -> tuple[LevelSampling, ...]:
        """How the codes of a song with these lyrics, or with none, are drawn unless the request says otherwise."""
        return self.sampling if lyrics or not self.wordless else self.wordless

    def spelling(self, level: int) -> Spelling:
        """How the prior of a level spells lyrics; UserError if nothing says so."""
        names = self.published_names[level] if self.published_names else None
        spelling = self.alphabet if names is None else names.spelling
        if spelling is None:
            raise UserError(f"nothing says how the prior of level {level} spells lyrics", "get or make the model again")
        return spelling

    @property
    def sings(self) -> bool:
        return any(prior is not None and prior.lyrics is not None for prior in self.priors)

    def prior(self, level: int) -> PriorConfig:
        """Settings of a level's prior; UserError if the model has none."""
        found = self.priors[level] if 0 <= level < len(self.priors) else None
        if found is None:
            finest = self.finest_composed
            way_out = "it can encode and decode there only"
            if finest is not None and level < finest:
                way_out = f"it composes down to level {finest}: --finest-level {finest}"
            raise UserError(f"the model {self.name!r} has no prior for level {level}", way_out)
        return found

    @property
    def finest_composed(self) -> int | None:
        """The finest level of a song: it and all above it have priors. None where the top has none."""
        finest = None
        for level in reversed(range(len(self.priors))):
            if self.priors[level] is None:
                break
            finest = level
        return finest


def write_model(
    folder: Path,
    info: ModelInfo,
    codec: Codec,
    priors: dict[int, AnyPrior] | None = None,
    *,
    card: str,
    dtype: torch.dtype | None = None,
) -> ModelInfo:
    """Write a model folder and give back its description, which is written last.

    `info` may leave `priors` and `sha256` out: they are taken from what is written. Parameters are stored as
    `dtype`, or as they are; buffers, such as codebooks, always as they are. `card` is the text of README.md.
    Priors and the memory of a model that was there before are removed.
    """
    priors = priors or {}
    modules: dict[str, nn.Module] = {
        CODEC: codec,
        **{prior_file(level): prior for level, prior in priors.items()},
    }
    hashes = {name: write_weights(folder / name, module, dtype) for name, module in modules.items()}
    configs = tuple(priors[level].config if level in priors else None for level in range(info.grid.num_levels))
    sampling = info.sampling or tuple(LevelSampling() for _ in configs)
    written = info.model_copy(update={"priors": configs, "sha256": hashes, "sampling": sampling})
    remove_others(folder, modules)
    write_description(folder, written, card)
    return written


def check_no_model(folder: Path, force: bool) -> None:
    """Raise UserError if a model's files are in `folder`, which one that is written there replaces, unless `force`."""
    for path in (folder / DESCRIPTION, folder / CARD, folder / CODEC, *_beside_codec(folder)):
        refuse_overwrite(path, force)


def remove_others(folder: Path, kept: Collection[str] = ()) -> None:
    """Remove priors, and the memory, of a model that was in `folder` before, but for files that are `kept`."""
    for path in _beside_codec(folder):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def _beside_codec(folder: Path) -> list[Path]:
    return [folder / MEMORY, *sorted(folder.glob("prior_[0-9]*.safetensors"))]


def write_description(folder: Path, info: ModelInfo, card: str) -> None:
    """Make the weights in `folder` a model; UserError for a description that contradicts itself."""
    check_fits(info, folder)
    write_text(folder / CARD, card)
    write_json(folder / DESCRIPTION, plain(info))


def read_model(folder: Path) -> ModelInfo:
    """The description of the model in `folder`, its weights left where they are.

    UserError for a folder without a model, a later format, or a description that contradicts itself.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(f"there is no model in {folder}", f"a model folder has a {DESCRIPTION}")
    info = read_described(ModelInfo, path, "model description")
    check_fits(info, folder)
    return info


def singers() -> list[str]:
    """The names of the models that sing; those that cannot be read are passed over."""
    found = []
    for name, folder in zoo.names().items():
        try:
            found += [name] if read_model(folder).sings else []
        except UserError:
            continue
    return found


def model_sha256(folder: Path) -> str:
    """A hash of all that decides what the model does: of its description, which has those of the weights."""
    with explained(folder / DESCRIPTION, "read"):
        return hashlib.sha256((folder / DESCRIPTION).read_bytes()).hexdigest()


def damaged(folder: Path) -> list[str]:
    """The files of weights that are missing or not those that the description of the model in `folder` names."""
    info = read_model(folder)
    return [name for name, sha256 in info.sha256.items() if not _is(folder / name, sha256)]


def read_card(folder: Path) -> str:
    """The model card, or nothing if there is none."""
    path = folder / CARD
    if not path.is_file():
        return ""
    with explained(path, "read"):
        return path.read_text(encoding="utf-8", errors="replace")


def load_codec(folder: Path, info: ModelInfo) -> Codec:
    """The codec, in evaluation mode; UserError for weights that are missing, damaged or of something else."""
    return _load(folder, CODEC, info, unfilled(Codec, info.codec), torch.float32)


def load_prior(
    folder: Path,
    info: ModelInfo,
    level: int,
    dtype: torch.dtype = torch.float32,
    num_layers: int | None = None,
) -> AnyPrior:
    """The prior of `level`, likewise; with `num_layers` the first of its layers alone, for features."""
    prior = unfilled(make_prior, info.prior(level))
    if num_layers is not None:
        prior.tokens.transformer.keep_first(num_layers)
    return _load(folder, prior_file(level), info, prior, dtype, partly=num_layers is not None)


def write_weights(path: Path, module: nn.Module, dtype: torch.dtype | None = None) -> str:
    """Write a module's state as safetensors, whole or not at all; returns the SHA-256 of the file.

    Parameters are stored as `dtype`, or as they are; buffers always as they are. UserError for a parameter
    that is not finite, or would not be as `dtype`.
    """
    parameters = {name for name, _ in module.named_parameters()}
    tensors = {}
    for name, tensor in module.state_dict().items():
        if dtype is not None and name in parameters and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{name} is not finite as {tensor.dtype}", "store it with a wider range, or train anew")
        tensors[name] = tensor.detach().cpu().contiguous().clone()
    with replacing(path) as part:
        save_file(tensors, part)
    return file_sha256(path)


def unfilled(kind: Callable[[Any], M], config: Any) -> M:
    """A module whose weights hold nothing yet: no time is spent on drawing, nor any chance used up."""
    with _Unfilled():
        return kind(config)


class _Unfilled(TorchFunctionMode):
    """Leaves the memory of new parameters as it is where they would be filled: untouched memory costs nothing."""

    # A function of nn.init comes here as a whole: what it calls in turn does not.
    skipped = (
        Tensor.uniform_,
        Tensor.normal_,
        Tensor.zero_,
        Tensor.fill_,
        nn.init.uniform_,
        nn.init.normal_,
        nn.init.trunc_normal_,
        nn.init.kaiming_uniform_,
        nn.init.kaiming_normal_,
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.skipped:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _load(folder: Path, name: str, info: ModelInfo, module: M, dtype: torch.dtype, *, partly: bool = False) -> M:
    """Fill `module`; with `partly` the file may hold more than it has."""
    path = folder / name
    if not path.is_file():
        raise UserError(f"{path} is missing", "the model is incomplete: get it again")
    if info.sha256.get(name) != file_sha256(path):
        raise UserError(f"{path} is not the file that {DESCRIPTION} describes", "it is damaged: get the model again")
    wanted = module.state_dict()
    tensors = read_tensors(path, wanted.keys() if partly else None)
    check_names_and_shapes(path, tensors, wanted)
    for key, tensor in tensors.items():
        if tensor.is_floating_point():
            if not tensor.isfinite().all():
                raise UserError(f"{key} in {path} has values that are not finite", "get or train the model again")
            tensors[key] = tensor.to(dtype)
    module.load_state_dict(tensors, assign=True)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module.eval()


def read_tensors(path: Path, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """The tensors in a file, or those of them that are among `names`."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if names is None or name in names}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file", "get the model again") from error


def check_names_and_shapes(path: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raise a UserError that names what is missing, too much or misshapen."""
    problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
    problems += [f"{name} is not part of this model" for name in found.keys() - wanted.keys()]
    problems += [
        f"{name} is {tuple(found[name].shape)} and should be {tuple(wanted[name].shape)}"
        for name in found.keys() & wanted.keys()
        if found[name].shape != wanted[name].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise UserError(f"{path} holds another model's weights: {shown}", "get the model again")


def check_fits(info: ModelInfo, folder: Path) -> None:
    """Raise UserError unless the parts of a description fit one another."""
    grid, problems = info.grid, []
    for what, entries in (("priors", info.priors), ("sampling", info.sampling), ("wordless", info.wordless)):
        if len(entries) != grid.num_levels and (entries or what != "wordless"):
            problems.append(f"{what} has {len(entries)} entries for {grid.num_levels} levels")
    for level, prior in enumerate(info.priors[: grid.num_levels]):
        if prior is None:
            continue
        if (prior.sample_rate, prior.hop_length) != (grid.sample_rate, grid.hop_lengths[level]):
            problems.append(f"the prior of level {level} is for another rate than the codec's")
        if prior.codebook_size != info.codec.codebook.size:
            problems.append(f"the prior of level {level} is for {prior.codebook_size} codes")
        if prior.depth != info.codec.levels[level].depth:
            problems.append(f"the prior of level {level} is for {prior.depth} code(s) of a vector")
        ratio = grid.ratio(level) if level < grid.top else 1
        if prior.conditioner and level < grid.top and prior.conditioner.ratio * prior.depth != ratio:
            told = prior.conditioner.ratio * prior.depth
            problems.append(f"the prior of level {level} is for codes {told} times coarser, the level above is {ratio}")
        if prior.context_frames % ratio:
            problems.append(f"the prior of level {level} sees {prior.context_frames} codes, no multiple of {ratio}")
        spelled = prior.lyrics.alphabet_size if prior.lyrics else None
        if spelled is not None and info.alphabet is not None and spelled != info.alphabet.size:
            problems.append(
                f"the prior of level {level} knows {spelled} ids of lyrics, its alphabet {info.alphabet.size}"
            )
        if prior.labels is None:
            continue
        own = info.published_names[level] if level < len(info.published_names) else None
        known = own or info.vocabulary
        for what, there, told in (
            ("artists", prior.labels.num_artists, known.num_artists),
            ("genres", prior.labels.num_genres, known.num_genres),
        ):
            # The published lists may be absent, or not use the last ids.
            if told > there or (told < there and own is None):
                problems.append(f"the prior of level {level} knows {there} {what}, its list {told}")
    if problems:
        raise UserError(f"the model in {folder} does not fit together: {'; '.join(problems)}", "get or make it again")


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256
