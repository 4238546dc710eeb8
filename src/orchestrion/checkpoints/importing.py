"""From the published checkpoint files to a model folder, a tensor at a time (docs/published-models.md)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from orchestrion.checkpoints import stream
from orchestrion.checkpoints.folder import (
    CODEC,
    ModelInfo,
    check_fits,
    prior_file,
    remove_others,
    write_description,
)
from orchestrion.checkpoints.pth import Checkpoint, open_checkpoint
from orchestrion.checkpoints.published import (
    Target,
    codec_config,
    codec_target,
    is_tied_copy,
    prior_config,
    prior_target,
)
from orchestrion.checkpoints.stream import Entry
from orchestrion.checkpoints.zoo import DESCRIPTION
from orchestrion.codec.model import Codec
from orchestrion.config.codec import CodecConfig
from orchestrion.config.prior import PriorConfig
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.files import check_space
from orchestrion.presets import published
from orchestrion.prior.model import Prior
from orchestrion.text.published import PublishedNames, read_published_names

LICENCE = "Noncommercial Use License of openai/jukebox"
_MADE_ANEW = ("codebook.sums", "codebook.counts", "codebook.filled")
"""State of the codebook's average, which the published files leave out."""
_WEIGHTS = (torch.float32, torch.float16, torch.bfloat16)
_SHOWN = 40
_UNFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What settings raise that were not made for a model."""
_CHOOSE = "give the files of one model, each once: vqvae, prior_level_0, prior_level_1, prior_level_2"

T = TypeVar("T")
C = TypeVar("C", CodecConfig, PriorConfig)


@dataclass(frozen=True)
class _Part:
    """A file that was found to be whole: its settings, and the tensors to be written."""

    checkpoint: Checkpoint
    entries: list[Entry]


def import_published(
    paths: Sequence[Path],
    folder: Path,
    *,
    name: str,
    dtype: torch.dtype | None = None,
    labels: Path | None = None,
) -> ModelInfo:
    """Write a model folder from the published VQ-VAE and any of its priors; which file is which follows from its keys.

    The priors' weights are stored as `dtype`, or as they are; the codec as it is, because its codes are compared.
    `labels` is a folder with the original lists of artists and genres; without them the model can only be asked
    for music without labels. All files are checked before anything is written: the UserError names all that is wrong.
    """
    problems: list[str] = []
    checkpoints = [opened for path in paths if (opened := _tried(problems, open_checkpoint, path))]
    _refuse(problems)
    codecs, by_level = _sorted(checkpoints)
    codec = _codec_settings(codecs)
    codec_part = _tried(problems, _codec_part, codecs, codec)
    priors: dict[int, PriorConfig] = {}
    names: dict[int, PublishedNames] = {}
    parts: dict[int, _Part] = {}
    for level, checkpoint in by_level.items():
        config = _tried(problems, _prior_settings, checkpoint, level, codec)
        if config is None:
            continue
        priors[level] = config
        part = _tried(problems, _prior_part, checkpoint, config, dtype)
        own_names = _tried(problems, _names, checkpoint, config, labels)
        if part and own_names:
            parts[level], names[level] = part, own_names
    _refuse(problems)
    assert codec_part is not None

    levels = range(codec.grid.num_levels)
    top = codec.grid.top
    info = ModelInfo(
        name=name,
        codec=codec,
        priors=tuple(priors.get(level) for level in levels),
        published_names=tuple(names.get(level) for level in levels),
        # The original's own: the top is drawn with most of what came before in sight.
        sampling=tuple(
            LevelSampling(temperature=0.99, hop_fraction=0.125 if level == top else 0.5) for level in levels
        ),
        about={
            "licence": LICENCE,
            "origin": "published Jukebox",
            "files": {one.path.name: one.step for one in checkpoints},
        },
    )
    check_fits(info, folder)
    files = {CODEC: codec_part, **{prior_file(level): part for level, part in parts.items()}}
    check_space(folder, sum(entry.num_bytes for part in files.values() for entry in part.entries))
    (folder / DESCRIPTION).unlink(missing_ok=True)  # from here on a model that was there is none any more
    remove_others(folder)
    hashes = {file: stream.write_stream(folder / file, part.entries) for file, part in files.items()}
    written = info.model_copy(update={"sha256": hashes})
    write_description(folder, written, _card(written))
    return written


def _tried(problems: list[str], act: Callable[..., T], *arguments: Any) -> T | None:
    """What `act` gives; None if it is refused, which is then one of the `problems`."""
    try:
        return act(*arguments)
    except UserError as error:
        problems.append(str(error))
        return None


def _refuse(problems: list[str]) -> None:
    if problems:
        raise UserError("this cannot be imported: " + "; ".join(problems))


def _sorted(checkpoints: Sequence[Checkpoint]) -> tuple[Checkpoint, dict[int, Checkpoint]]:
    """The VQ-VAE, and the prior of each level."""
    codecs: list[Checkpoint] = []
    priors: dict[int, Checkpoint] = {}
    problems: list[str] = []
    for one in checkpoints:
        if any(key.startswith(("encoders.", "bottleneck.")) for key in one.tensors):
            codecs.append(one)
        elif not any(key.startswith("prior.") for key in one.tensors):
            problems.append(f"{one.path} is neither a VQ-VAE nor a prior")
        elif type(level := one.hyperparameters.get("level")) is not int:
            problems.append(f"{one.path} does not say of which level it is")
        elif level in priors:
            problems.append(f"{priors[level].path} and {one.path} are both of level {level}")
        else:
            priors[level] = one
    if len(codecs) != 1:
        problems.append(f"{', '.join(str(one.path) for one in codecs) or 'none'} of the files hold a VQ-VAE, not one")
    if problems:
        raise UserError("; ".join(problems), _CHOOSE)
    return codecs[0], priors


def _codec_settings(checkpoint: Checkpoint) -> CodecConfig:
    """Those of the published VQ-VAE for a file with its codebooks, else what the file says."""
    known = published.codec()
    shape = (known.codebook.size, known.codebook.width)
    books = [tuple(tensor.shape) for key, tensor in checkpoint.tensors.items() if key.startswith("bottleneck.")]
    if books == [shape] * len(known.levels):
        return known
    return _from_file(checkpoint, lambda given: codec_config(given, known))


def _prior_settings(checkpoint: Checkpoint, level: int, codec: CodecConfig) -> PriorConfig:
    """Those of a published prior for a file with its tables, else what the file says.

    The original does not go by the settings in its files either: they are those of the day it was trained.
    """
    grid = codec.grid
    if level not in range(grid.num_levels):
        raise UserError(f"{checkpoint.path} is of level {level}, and the VQ-VAE has {grid.num_levels} levels", _CHOOSE)
    known = known_prior(checkpoint, level) if codec == published.codec() else None
    if known is not None:
        return known
    ratio = None if level == grid.top else grid.ratio(level)
    size, hop_length = codec.codebook.size, grid.hop_lengths[level]
    return _from_file(
        checkpoint, lambda given: prior_config(given, codebook_size=size, hop_length=hop_length, ratio=ratio)
    )


def known_prior(checkpoint: Checkpoint, level: int) -> PriorConfig | None:
    """The settings of the published prior of `level` whose tables a file has; None if it has those of none."""
    tops = (published.top_5b(), published.top_5b_lyrics(), published.top_1b_lyrics())
    candidates = tops if level == published.codec().grid.top else (published.upsampler(level),)
    return next((known for known in candidates if _looks_like(checkpoint, known)), None)


def _looks_like(checkpoint: Checkpoint, config: PriorConfig) -> bool:
    """Whether the file has tables of these sizes and as many layers."""
    layers = {
        layer[1] for key in checkpoint.tensors if (layer := re.match(r"prior\.transformer\._attn_mods\.(\d+)\.", key))
    }
    width, labels, lyrics = config.transformer.width, config.labels, config.lyrics
    assert labels is not None
    characters = lyrics.alphabet_size if lyrics and not lyrics.encoder else 0
    sizes = {
        "prior.x_emb.weight": (config.codebook_size + characters, width),
        "prior.pos_emb.pos_emb": (config.context_tokens, width),
        "y_emb.artist_emb.emb.weight": (labels.num_artists, width),
        "y_emb.bow_genre_emb.emb.weight": (labels.num_genres, width),
    }
    found = {key: tuple(checkpoint.tensors[key].shape) for key in sizes if key in checkpoint.tensors}
    encodes_lyrics = any(key.startswith("prime_") for key in checkpoint.tensors)
    same_lyrics = encodes_lyrics == bool(lyrics and lyrics.encoder)
    return found == sizes and same_lyrics and len(layers) == config.transformer.num_layers


def _from_file(checkpoint: Checkpoint, convert: Callable[[dict[str, Any]], C]) -> C:
    try:
        return convert(checkpoint.hyperparameters)
    except KeyError as error:
        raise UserError(f"the hyperparameters in {checkpoint.path} lack {error}") from error
    except _UNFIT as error:
        raise _no_model(checkpoint, error) from error


def _shapes(kind: type[nn.Module], config: Any, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of the model that the file is to hold, without memory."""
    try:
        with torch.device("meta"):
            return kind(config).state_dict()
    except _UNFIT as error:
        raise _no_model(checkpoint, error) from error


def _no_model(checkpoint: Checkpoint, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"the hyperparameters in {checkpoint.path} make no model: {reason}")


def _names(checkpoint: Checkpoint, config: PriorConfig, labels: Path | None) -> PublishedNames:
    later = config == published.top_1b_lyrics() or bool(checkpoint.hyperparameters.get("labels_v3"))
    dialect: Literal["v2", "v3"] = "v3" if later else "v2"
    if labels is None:
        return PublishedNames(dialect=dialect, artists={}, genres={})
    return read_published_names(labels, dialect)


def _codec_part(checkpoint: Checkpoint, config: CodecConfig) -> _Part:
    wanted = _shapes(Codec, config, checkpoint)
    stored = {key: tensor for key, tensor in wanted.items() if not key.endswith(_MADE_ANEW)}
    placed = _placed(checkpoint, lambda key: codec_target(key, config), stored)
    entries = [_entry(name, tensor, target, torch.float32) for name, (tensor, target) in placed.items()]
    for name in wanted.keys() - stored.keys():
        shape, dtype = tuple(wanted[name].shape), wanted[name].dtype
        if name.endswith("sums"):
            tensor, target = placed[name.removesuffix("sums") + "entries"]
            entries.append(_entry(name, tensor, target, dtype))
        else:
            # As if every entry had been chosen once: they stand where their average is.
            entries.append(Entry(name, dtype, shape, partial(torch.ones, shape, dtype=dtype)))
    return _Part(checkpoint, entries)


def _prior_part(checkpoint: Checkpoint, config: PriorConfig, dtype: torch.dtype | None) -> _Part:
    wanted = _shapes(Prior, config, checkpoint)
    tensors = checkpoint.tensors
    copies = [key for key in tensors if is_tied_copy(key, config)]
    for key in copies:
        original = tensors.get("prior.x_emb.weight")
        if original is not None and not torch.equal(tensors[key], original):
            raise UserError(f"{checkpoint.path}: {key} and prior.x_emb.weight differ, and this model has one for both")
    placed = _placed(checkpoint, prior_target, wanted, skipped=copies)
    return _Part(
        checkpoint,
        [_entry(name, tensor, target, dtype or tensor.dtype) for name, (tensor, target) in placed.items()],
    )


def _placed(
    checkpoint: Checkpoint,
    target_of: Callable[[str], Target | None],
    wanted: dict[str, Tensor],
    skipped: Sequence[str] = (),
) -> dict[str, tuple[Tensor, Target]]:
    """Where every tensor of the file goes; UserError that names each one missing, too much or misshapen."""
    placed: dict[str, tuple[Tensor, Target]] = {}
    problems = []
    for key, tensor in checkpoint.tensors.items():
        if key in skipped:
            continue
        target = target_of(key)
        if target is None or target.key not in wanted:
            problems.append(f"{key} is not part of such a model")
            continue
        placed[target.key] = (tensor, target)
        shape, right = target.shape(tuple(tensor.shape)), tuple(wanted[target.key].shape)
        if shape != right:
            problems.append(f"{key} (our {target.key}) is {shape} and should be {right}")
        if tensor.dtype not in _WEIGHTS:
            problems.append(f"{key} is {tensor.dtype}, not a weight")
    problems += [f"nothing is there for our {name}" for name in wanted if name not in placed]
    if problems:
        rest = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UserError(f"{checkpoint.path} does not hold what it should: {'; '.join(problems[:_SHOWN])}{rest}")
    return placed


def _entry(name: str, tensor: Tensor, target: Target, dtype: torch.dtype) -> Entry:
    def read() -> Tensor:
        # One allocation of the size of the result, whatever has to be turned or rounded.
        return torch.empty(shape, dtype=dtype).copy_(target.convert(tensor))

    shape = target.shape(tuple(tensor.shape))
    return Entry(name, dtype, shape, read)


def _card(info: ModelInfo) -> str:
    files = ", ".join(info.about["files"])
    return (
        f"# {info.name}\n\nThe published Jukebox (Dhariwal et al. 2020, arXiv 2005.00341), imported from {files}.\n"
        f"Licence of the weights: {LICENCE}.\n"
    )
