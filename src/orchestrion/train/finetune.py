"""Fine-tuning: a trained model learns from a little music of someone's own, with names it did not know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from orchestrion.checkpoints.adapter import AdapterInfo, write_adapter
from orchestrion.checkpoints.folder import (
    ModelInfo,
    load_codec,
    load_prior,
    model_sha256,
    read_card,
    read_model,
    write_model,
    write_weights,
)
from orchestrion.config import plain
from orchestrion.config.prior import PriorConfig
from orchestrion.config.training import FinetuneConfig
from orchestrion.data.encoded import CodeBatch, CodeStore, vocabulary_of
from orchestrion.data.manifest import Track
from orchestrion.errors import UserError
from orchestrion.files import explained, file_sha256, read_json, replacing, write_json
from orchestrion.generate.told import told_of
from orchestrion.prior.adapt import adapt, grow, learned, settle
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import AnyPrior, MaskedPrior, hide_evenly
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.vocab import NO_GENRE, UNKNOWN_ID, Vocabulary
from orchestrion.train.assemble import track_lines
from orchestrion.train.loop import StepResult
from orchestrion.train.masked import MaskedRecipe
from orchestrion.train.parallel import Part
from orchestrion.train.prior import PriorRecipe, learning_like
from orchestrion.train.run import RUN, read_run

_LISTENED = 8  # windows of new music by which the nearest known name is found
_EXPORT = "prior.json"
_WRITTEN = ("audio", "codes", "adapter", "model")  # beside the runs of its levels

KIND = "finetune"
"""What `run.json` says of the run of a level."""

Row = Float[Tensor, " width"]


def grown_names(known: Vocabulary, tracks: Sequence[Track]) -> Vocabulary:
    """The names of a model, then those in `tracks` that it does not know."""
    found = vocabulary_of(tracks)

    def new(names: tuple[str, ...], ids: Callable[[str], object]) -> tuple[str, ...]:
        return tuple(name for name in names if not _is_known(ids, name))

    return Vocabulary(
        artists=known.artists + new(found.artists, known.artist_id),
        genres=known.genres + new(found.genres, lambda name: known.genre_ids([name])),
    )


def _is_known(look_up: Callable[[str], object], name: str) -> bool:
    try:
        look_up(name)
    except UserError:
        return False
    return True


@dataclass(frozen=True)
class Base:
    """The model that goes on learning: its folder and its description."""

    folder: Path
    info: ModelInfo

    @staticmethod
    def open(folder: Path) -> "Base":
        """UserError for a codec alone, an imported model, whose names are not trained here, and another spelling."""
        info = read_model(folder)
        if not any(info.priors):
            raise UserError(f"{info.name!r} has no prior, and those are what learns", "fine-tune a model that composes")
        if info.published_names:
            raise UserError(
                f"{info.name!r} was imported, and each of its priors has names of its own",
                "fine-tune a model that was trained here",
            )
        if info.sings and info.alphabet != Alphabet():
            raise UserError(f"{info.name!r} spells lyrics otherwise than this version", "use the version that made it")
        return Base(folder, info)

    @property
    def levels(self) -> tuple[int, ...]:
        """Those that have a prior."""
        return tuple(level for level, prior in enumerate(self.info.priors) if prior is not None)

    @property
    def window_seconds(self) -> float:
        """Of the prior that sees most at once, of those that learn from whole windows only."""
        grid, priors = self.info.grid, {level: self.info.prior(level) for level in self.levels}
        return max(
            (
                prior.context_frames / grid.frame_rate(level)
                for level, prior in priors.items()
                if not prior.takes_short_tracks
            ),
            default=0.0,
        )

    def prior(self, level: int, store: CodeStore, config: FinetuneConfig, device: torch.device) -> AnyPrior:
        """The prior of `level` with rows for the new names in `store`, as it begins to learn."""
        prior = load_prior(self.folder, self.info, level).to(device)
        if prior.labels is not None:
            frames = _frames_at_once(prior.config, config.window_frames)
            nearest = config.first_embedding == "nearest"
            rows = first_rows(prior, store, level, self.info.vocabulary, frames, nearest=nearest)
            grow(prior, *rows)
        if config.adapter is not None:
            adapt(prior, config.adapter, Generator(device).manual_seed(config.training.seed))
        else:
            settle(prior)
            prior.requires_grad_(True)
        return prior


def _frames_at_once(prior: PriorConfig, most: int) -> int:
    """Frames of a window that a prior goes on to learn from: at most so many where it takes less than it sees."""
    return min(prior.context_frames, most) if prior.takes_short_tracks else prior.context_frames


@torch.no_grad()
def first_rows(
    prior: AnyPrior, store: CodeStore, level: int, known: Vocabulary, frames: int, *, nearest: bool
) -> tuple[Float[Tensor, "new_artist width"], Float[Tensor, "new_genre width"]]:
    """Where the rows of the names that `known` lacks begin, for artists and for genres.

    The row of the known name under which `prior` finds windows of so many frames of the new one's music the least
    surprising; the mean of all known names without `nearest`, and for a name without a window of training music.
    """
    assert prior.labels is not None
    names = store.vocabulary
    artists, genres = prior.labels.artist.weight, prior.labels.genre.weight
    assert isinstance(artists, Tensor) and isinstance(genres, Tensor)

    def row(table: Tensor, tracks: list[int], named: Callable[[Conditions, int], Conditions]) -> Row:
        batches = list(
            store.batches_of(
                tracks,
                _LISTENED,
                level,
                frames,
                max_windows=_LISTENED,
                num_characters=prior.config.num_characters,
                short_tracks=prior.config.takes_short_tracks,
            )
        )
        if not nearest or not batches or len(table) == 1:
            return table[1:].mean(0) if len(table) > 1 else table[0]
        surprise = [_surprise(prior, batches[0], named, name) for name in range(1, len(table))]
        return table[1 + surprise.index(min(surprise))]

    def by_artist(nobody: Conditions, name: int) -> Conditions:
        return Conditions(**{**vars(nobody), "artist": torch.full_like(nobody.artist, name)})

    def in_genre(nobody: Conditions, name: int) -> Conditions:
        genres = torch.full_like(nobody.genres, NO_GENRE)
        genres[:, 0] = name
        return Conditions(**{**vars(nobody), "genres": genres})

    learned_from = [(index, store.shards[index].track) for index in store.indices("train")]
    new_artists = [
        row(artists, [i for i, track in learned_from if names.artist_id(track.artist) == new], by_artist)
        for new in range(known.num_artists, names.num_artists)
    ]
    new_genres = [
        row(genres, [i for i, track in learned_from if new in names.genre_ids(track.genres)], in_genre)
        for new in range(known.num_genres, names.num_genres)
    ]
    none = artists.new_zeros(0, artists.shape[1])
    return torch.stack(new_artists) if new_artists else none, torch.stack(new_genres) if new_genres else none


def _surprise(prior: AnyPrior, batch: CodeBatch, named: Callable[[Conditions, int], Conditions], name: int) -> float:
    """Bits per code of new music under a known name, nothing else named; its words are told where it has some."""
    assert name != UNKNOWN_ID
    told = told_of(batch).unlabelled()
    device = next(prior.parameters()).device
    conditions, codes = named(told, name).to(device), batch.codes.to(device)
    if isinstance(prior, MaskedPrior):
        loss = prior.loss(codes, hide_evenly(len(codes), codes.shape[1], 0, prior.depth).to(device), conditions)
    else:
        loss = prior.loss(codes, conditions)
    return float(loss.bits_per_code)


class FinetuneRecipe:
    """Trains what is learned of one level's prior; all but what it writes at the end is as for a fresh prior."""

    def __init__(self, base: Base, config: FinetuneConfig, store: CodeStore, level: int, device: torch.device) -> None:
        theirs = base.info.prior(level)
        prior = base.prior(level, store, config, device)
        settings = learning_like(
            theirs,
            config.training,
            context_frames=_frames_at_once(theirs, config.window_frames),
            label_dropout=config.label_dropout,
            condition_dropout=config.condition_dropout,
            artist_balance=config.artist_balance,
            validation_windows=config.validation_windows,
        )
        kind = MaskedRecipe if theirs.masked else PriorRecipe
        self.config = config
        self.level = level
        self.inner = kind(settings, store, level, load_codec(base.folder, base.info), device, prior=prior)

    @property
    def entries(self) -> tuple[str, ...]:
        return self.inner.entries

    @property
    def model(self) -> nn.Module:
        return self.inner.model

    @model.setter
    def model(self, prior: nn.Module) -> None:
        self.inner.model = prior

    def matrices(self) -> list[nn.Parameter]:
        return self.inner.matrices()

    def tensors(self) -> dict[str, Tensor]:
        return self.inner.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.inner.load(tensors)

    def prepare(self, step: int, own: Part) -> None:
        self.inner.prepare(step, own)

    def loss(self, step: int, part: Part) -> StepResult:
        return self.inner.loss(step, part)

    def follow(self, step: int) -> dict[str, float]:
        return self.inner.follow(step)

    def validate(self) -> dict[str, float]:
        return self.inner.validate()

    def show(self, folder: Path) -> None:
        self.inner.show(folder)

    def findings(self, step: int, metrics: dict[str, float]) -> list[str]:
        return self.inner.findings(step, metrics)

    @torch.no_grad()
    def measure_before(self, path: Path) -> None:
        """Write how well the held-out music is predicted before anything is learned; only the first time."""
        if not path.exists():
            write_json(path, self.inner.figures())

    def export(self, folder: Path) -> None:
        """Write what was learned, and how well the held-out music is predicted before and after."""
        weights = folder / "prior.safetensors"
        if self.config.adapter is None:
            sha256 = write_weights(weights, self.inner.prior)
        else:
            with replacing(weights) as part:
                save_file(
                    {name: one.detach().cpu().contiguous() for name, one in learned(self.inner.prior).items()}, part
                )
            sha256 = file_sha256(weights)
        before = read_json(folder / "before.json", "figures")
        figures = {"before": before, "after": self.inner.figures()}
        write_json(folder / _EXPORT, {"format": 1, "level": self.level, "figures": figures, "sha256": sha256})


def claim(folder: Path, base: Base, first: Path, result: Path) -> None:
    """Make `folder` that of a fine-tuning, of which the folder of its `first` run, a `level_N`, is the sign.

    UserError where what is written there would replace what no fine-tuning wrote, or the model that it begins with.
    """
    if result.exists() and result.samefile(base.folder):
        raise UserError(f"{result} is the model to begin with, and would be replaced", "give another folder with --run")
    if not any(_is_of_finetuning(run) for run in folder.glob("level_*")):
        for name in (RUN, *_WRITTEN):
            if (folder / name).exists():
                raise UserError(
                    f"{folder} is not the folder of a fine-tuning, and holds {name} already",
                    "give another folder with --run",
                )
    with explained(first, "write into"):
        first.mkdir(parents=True, exist_ok=True)


def _is_of_finetuning(run: Path) -> bool:
    """Whether this is the folder of one level's run, or one that was made for it and in which none was begun yet."""
    if not run.is_dir():
        return False
    return read_run(run).get("kind") == KIND if (run / RUN).exists() else not any(run.iterdir())


def _result(run: Path) -> tuple[dict[str, Tensor], Any]:
    """The weights and the figures that a finished run wrote."""
    about = read_json(run / _EXPORT, "description of a prior")
    try:
        if file_sha256(run / "prior.safetensors") != about["sha256"]:
            raise UserError(f"{run / 'prior.safetensors'} is damaged", "delete that run and train again")
        return load_file(run / "prior.safetensors"), about["figures"]
    except (SafetensorError, OSError) as error:
        raise UserError(f"{run / 'prior.safetensors'} is damaged", "delete that run and train again") from error


def finished_before(runs: dict[int, Path], config: FinetuneConfig, learned_from: dict[str, Any]) -> dict[int, Path]:
    """Those of other levels' runs that are finished, to be put together with what is learned now.

    `learned_from` is what a run's data says beside its level. UserError for one that learned from something else, or
    in another way.
    """
    found = {level: run for level, run in runs.items() if (run / _EXPORT).exists()}
    for level, run in found.items():
        before = read_run(run)
        if (
            before.get("data") != {**learned_from, "level": level}
            or before["config"].get("adapter") != plain(config)["adapter"]
        ):
            raise UserError(
                f"level {level} in {run} learned from other music or in another way, and could not be used with this",
                "give another folder with --run",
            )
    return found


def write_finetuned(
    base: Base,
    config: FinetuneConfig,
    store: CodeStore,
    runs: dict[int, Path],
    folder: Path,
    *,
    name: str,
    licence: str,
) -> None:
    """Put the finished runs of some levels together to an adapter in `folder`, or to a whole model there.

    Levels that did not learn know the new names too, as they begin.
    """
    found = {level: _result(run) for level, run in runs.items()}
    variations = max(shard.variation for shard in store.shards)
    about: dict[str, Any] = {
        "licence": licence,
        "data_hash": store.data_hash,
        "tracks": list(track_lines([shard.track for shard in store.shards if not shard.variation], variations)),
        "figures": {f"level_{level}": figures for level, (_, figures) in found.items()},
    }
    priors = {
        level: base.prior(level, store, config, torch.device("cpu")) for level in base.levels if level not in found
    }
    if config.adapter is not None:
        rows = {
            level: {name: one for name, one in learned(prior).items() if name.endswith("added")}
            for level, prior in priors.items()
        }
        info = AdapterInfo(
            name=name,
            model=base.info.name,
            model_sha256=model_sha256(base.folder),
            levels=tuple(found),
            vocabulary=store.vocabulary,
            update=config.adapter,
            about=about,
            sha256="",
        )
        write_adapter(folder, info, rows | {level: tensors for level, (tensors, _) in found.items()})
        return
    for level, (tensors, _) in found.items():
        priors[level] = base.prior(level, store, config, torch.device("cpu"))
        priors[level].load_state_dict(tensors)
    before = base.info.about
    kept = ("licence", "data_hash", "figures", "finetuned")
    theirs: dict[str, Any] = {key: before[key] for key in kept if key in before}
    afterwards = {level: figures["after"] for level, figures in about["figures"].items()}
    of_all = {
        **before,
        "licence": licence,
        "data_hash": store.data_hash,
        "figures": {**before.get("figures", {}), **afterwards},
        "learned_from": sorted(store.learned_from.union(base.info.learned_from)),
        "finetuned": {**about, "from": {"name": base.info.name, **theirs}, "settings": plain(config)},
    }
    whole = base.info.model_copy(update={"name": name, "vocabulary": store.vocabulary, "about": of_all})
    heading = f"## Fine-tuned from {base.info.name}, which is what stands above"
    lines = ["", heading, "", f"Licence of the weights: {licence}.", "", *about["tracks"]]
    card = read_card(base.folder) + "\n".join(lines) + "\n"
    write_model(folder, whole, load_codec(base.folder, base.info), priors, card=card, dtype=torch.float16)
