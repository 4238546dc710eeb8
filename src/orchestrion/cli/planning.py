"""What `orchestrion train plan` reads and shows."""

import difflib
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from orchestrion import presets
from orchestrion.config import read_toml
from orchestrion.config.prior import LabelConfig
from orchestrion.config.training import CodecTrainingConfig, ModelTrainingConfig, PriorTrainingConfig, TrainingConfig
from orchestrion.errors import UserError
from orchestrion.plan import Cost, Device, Memory, Plan, codec_cost, prior_cost
from orchestrion.presets import published
from orchestrion.text.alphabet import Alphabet

Trainings = dict[str, tuple[Cost, TrainingConfig]]

_PUBLISHED = {
    "1b_lyrics": presets.published_1b_lyrics,
    "5b": presets.published_5b,
    "5b_lyrics": presets.published_5b_lyrics,
}
_PUBLISHED_CHUNK = 393_216  # samples
_PARTS = {
    "weights": "weights",
    "average": "their average",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "gathered": "working copies",
    "activations": "activations",
    "codebook": "codebook",
}


def planned(devices: dict[str, Device], name: str) -> Device:
    """The device of this name; UserError that lists what is known."""
    if name not in devices:
        raise UserError(f"nothing is known of the device {name!r}", f"known: {', '.join(devices)}")
    return devices[name]


def trainings(config: str, artists: int | None, genres: int | None, codebook_size: int, depth: int) -> Trainings:
    """The trainings that a preset or a file describes, by name; UserError for one that does neither.

    Priors know so many names, or 1000 artists and 100 genres; a published model has names of its own. The codebook's
    size and the depth are those of the level of a prior that is described alone.
    """
    labels = LabelConfig(num_artists=(artists or 1000) + 1, num_genres=(genres or 100) + 1)
    if config in presets.TRAINED:
        return _of_model(presets.TRAINED[config](), labels)
    if config in _PUBLISHED:
        if artists or genres:
            raise UserError(f"{config} has the names that it was published with", "leave out --artists and --genres")
        return {
            "codec": (codec_cost(presets.published_codec(), _PUBLISHED_CHUNK), published.codec_training()),
            "upsampler of level 0": (prior_cost(presets.published_upsampler(0)), published.upsampler_training()),
            "upsampler of level 1": (prior_cost(presets.published_upsampler(1)), published.upsampler_training()),
            "top prior": (prior_cost(_PUBLISHED[config]()), published.top_training()),
        }
    path = Path(config)
    if not path.is_file():
        names = [*presets.TRAINED, *_PUBLISHED]
        close = difflib.get_close_matches(config, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"presets are {', '.join(names)}; or give a TOML file"
        raise UserError(f"there is no preset and no file called {config!r}", hint)
    return _of_file(path, labels, codebook_size, depth)


def _of_file(path: Path, labels: LabelConfig, codebook_size: int, depth: int) -> Trainings:
    try:
        names = tomllib.loads(path.read_text(encoding="utf-8")).keys()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        names = {"codec": None}.keys()  # read_toml says what is wrong with it
    if "priors" in names:
        return _of_model(read_toml(ModelTrainingConfig, path), labels)
    if "codec" in names:
        return {"codec": _of_codec(read_toml(CodecTrainingConfig, path))}
    prior = read_toml(PriorTrainingConfig, path)
    return {"prior": _of_prior(prior, labels, codebook_size, depth)}


def _of_model(model: ModelTrainingConfig, labels: LabelConfig) -> Trainings:
    size, levels = model.codec.codec.codebook.size, model.codec.codec.levels
    priors = {
        f"prior of level {level}": _of_prior(prior, labels, size, own.depth)
        for level, (prior, own) in enumerate(zip(model.priors, levels, strict=True))
    }
    return {"codec": _of_codec(model.codec)} | priors


def _of_codec(config: CodecTrainingConfig) -> tuple[Cost, TrainingConfig]:
    grid = config.codec.grid
    chunk_samples = grid.whole(grid.num_samples(config.chunk_seconds))
    cost = codec_cost(config.codec, chunk_samples, learning=config.learning, decoders_only=config.decoders_only)
    return replace(cost, refused=config.refused), config.training


def _of_prior(
    config: PriorTrainingConfig, labels: LabelConfig, codebook_size: int, depth: int
) -> tuple[Cost, TrainingConfig]:
    """Of a prior at a rate that changes nothing in the plan, all of whose words have times; UserError for a misfit."""
    prior = config.prior(
        labels,
        Alphabet().size,
        "the prior",
        sample_rate=44_100,
        hop_length=1,
        codebook_size=codebook_size,
        depth=depth,
    )
    following = config.lyrics is not None and config.lyrics.attention_weight > 0
    return prior_cost(prior, following=following), config.training


def shown(config: str, device: str, plans: dict[str, Plan]) -> dict[str, Any]:
    """All of the plans as JSON holds it, and as a text."""
    results = {
        name: {
            "parameters": one.parameters,
            "memory_bytes": {part: round(num) for part, num in asdict(one.memory).items()},
            "memory_total_bytes": round(one.memory.total),
            "device_bytes": round(one.device.memory_bytes),
            "fits": one.fits,
            "items_at_once": one.items,
            "tokens": round(one.tokens),
            "flops": one.flops,
            "hours": round(one.hours, 3),
            "precision": one.precision,
            "advice": list(one.advice),
        }
        for name, one in plans.items()
    }
    text = "\n\n".join(_lines(name, device, one) for name, one in plans.items())
    return {"config": config, "device": device, "trainings": results, "text": text}


def _lines(name: str, device: str, one: Plan) -> str:
    precision = one.precision
    if one.device.half_flops is None:
        precision += ", as there is no arithmetic in bfloat16"
    lines = [
        f"{name}: {one.parameters / 1e6:,.1f} million weights, on {one.num_devices} × {device}, in {precision}",
        *_memory_lines(one.memory),
        f"  {'in all':<16}{one.memory.total / 1e9:10.2f} GB of {one.device.memory_bytes / 1e9:.0f}"
        f" ({one.items} {'item' if one.items == 1 else 'items'} at once)",
        f"  {'codes':<16}{one.tokens:10.3g}",
        f"  {'FLOPs':<16}{one.flops:10.3g}",
        f"  {'hours':<16}{one.hours:10,.1f} ({one.hours * one.num_devices:,.0f} device hours)",
    ]
    if one.advice:
        lines += ["  it does not fit; change:", *(f"    {sentence}" for sentence in one.advice)]
    return "\n".join(lines)


def _memory_lines(memory: Memory) -> list[str]:
    return [
        f"  {_PARTS[part]:<16}{num / 1e9:10.2f} GB" for part, num in asdict(memory).items() if part in _PARTS and num
    ]
