"""Putting a trained codec and trained priors together to a model that can be played."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.folder import (
    CODEC,
    ModelInfo,
    load_codec,
    load_prior,
    read_model,
    unfilled,
    write_model,
    write_weights,
)
from orchestrion.checkpoints.lineage import Before, begun_with, kept_whole, knows_codes, unchanged_since
from orchestrion.checkpoints.zoo import DESCRIPTION
from orchestrion.codec import Codec
from orchestrion.config import read_settings
from orchestrion.config.prior import PriorConfig
from orchestrion.config.sampling import LevelSampling
from orchestrion.data.encoded import CodeStore
from orchestrion.data.manifest import Track, split
from orchestrion.errors import UserError
from orchestrion.files import file_sha256, read_json
from orchestrion.nn.fast import Weights
from orchestrion.prior.masked import AnyPrior, make_prior
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.vocab import Vocabulary

_RUN = "prior.json"  # of a finished run


def build_model(
    name: str,
    codec_folder: Path,
    sources: Sequence[str | Path],
    store: CodeStore,
    folder: Path,
    *,
    licence: str,
    sampling: Sequence[LevelSampling] = (),
    wordless: Sequence[LevelSampling] = (),
    weights: Weights | None = None,
    dtype: torch.dtype = torch.float16,
) -> ModelInfo:
    """Write a model folder from the codec in `codec_folder` and a prior for each level.

    `sources` are finished runs, and models, by name or folder, whose priors are taken for the levels that no run
    teaches. `store` holds the codes that the priors learned from; its tracks are listed in the model card. `sampling`,
    an entry per level, `wordless`, the same for songs without lyrics if those are drawn otherwise, and `weights` are
    what the model is used with unless something else is asked for. Priors of
    levels that stayed as they were in the codec that this began with fit it too. What any of its parts learned from
    counts as learned from. UserError for runs that are unfinished, belong to another codec or teach a level twice, and
    for models none of whose priors fits.
    """
    base = read_model(codec_folder)
    if not knows_codes(base, store.codec_hash, store.grid):
        raise UserError(f"{store.folder} was not made by the codec in {codec_folder}", "give the one that made it")
    priors: dict[int, AnyPrior] = {}
    figures: dict[str, Any] = {}
    learned_from = store.learned_from.union(base.learned_from)
    vocabulary = store.vocabulary
    alphabets: dict[int, Alphabet] = {}
    parts = _parts(sources)
    fitting = {part.source for part in parts if _level_in(base, part.level, part.codec) is not None}
    for part in parts:
        level = _level_in(base, part.level, part.codec)
        if part.of_model and (level in priors or (level is None and part.source in fitting)):
            continue
        if level is None:
            raise UserError(
                f"the prior in {part.source} was trained for another codec",
                f"leave it out, or train one on {store.folder}",
            )
        if level in priors:
            raise UserError(f"level {level} is given twice", "give one run for each level")
        if part.vocabulary != vocabulary:
            raise UserError(
                f"the prior in {part.source} knows other names than {store.folder}", "train it on these codes"
            )
        priors[level] = part.load()
        learned_from.update(part.learned_from)
        if part.alphabet is not None:
            alphabets[level] = part.alphabet
        figures[f"level_{level}"] = part.figures
    if len(set(alphabets.values())) > 1:
        raise UserError("the priors spell lyrics in different alphabets", "train them by the same version")
    codec = load_codec(codec_folder, base)
    as_it_was = write_weights(folder / CODEC, codec, dtype) == base.sha256[CODEC]
    info = ModelInfo(
        name=name,
        codec=base.codec,
        vocabulary=vocabulary,
        alphabet=next(iter(alphabets.values()), None),
        sampling=tuple(sampling) or tuple(LevelSampling() for _ in range(store.grid.num_levels)),
        wordless=tuple(wordless),
        weights=weights,
        about={
            "licence": licence,
            "data_hash": store.data_hash,
            "learned_from": sorted(learned_from),
            "figures": figures,
            "begun_with": base.about.get("begun_with") if as_it_was else kept_whole(base),
        },
    )
    parameters = {"codec": _count(codec)} | {f"prior {level}": _count(prior) for level, prior in priors.items()}
    variations = max(shard.variation for shard in store.shards)
    card = model_card(info, parameters, [shard.track for shard in store.shards if not shard.variation], variations)
    return write_model(folder, info, codec, priors, card=card, dtype=dtype)


@dataclass(frozen=True)
class _Part:
    """A trained prior: where it is, the codes it knows, its names and spelling, and how well it predicts.

    `learned_from` are content hashes of its music, as far as that is known.
    """

    source: Path
    of_model: bool
    level: int
    codec: str
    vocabulary: Vocabulary
    alphabet: Alphabet | None
    figures: Any
    learned_from: Sequence[str]
    load: Callable[[], AnyPrior]


def _parts(sources: Sequence[str | Path]) -> list[_Part]:
    """Those of runs first, then those of models."""
    known = zoo.names()
    runs, models = list[_Part](), list[_Part]()
    for source in sources:
        folder = known.get(str(source), Path(source))
        if (folder / DESCRIPTION).is_file() or not folder.exists():
            models += _of_model(zoo.locate(source))
        else:
            runs.append(_of_run(folder))
    return runs + models


def _of_run(run: Path) -> _Part:
    description = run_description(run)
    spelling = description.get("alphabet")
    return _Part(
        source=run,
        of_model=False,
        level=int(description["level"]),
        codec=description["codec_hash"],
        vocabulary=Vocabulary.from_json(description["vocabulary"], str(run)),
        alphabet=None if spelling is None else read_settings(Alphabet, spelling, str(run / _RUN)),
        figures=description["figures"],
        learned_from=description.get("learned_from", ()),  # absent in runs of before
        load=partial(trained_prior, run),
    )


def _of_model(folder: Path) -> Iterable[_Part]:
    info = read_model(folder)
    if not any(info.priors):
        raise UserError(f"the model in {folder} has no prior", "leave it out")
    for level, config in enumerate(info.priors):
        if config is not None:
            yield _Part(
                source=folder,
                of_model=True,
                level=level,
                codec=info.sha256[CODEC],
                vocabulary=info.vocabulary,
                alphabet=info.alphabet if config.lyrics else None,
                figures=info.about.get("figures", {}).get(f"level_{level}"),
                learned_from=info.learned_from,
                load=partial(load_prior, folder, info, level),
            )


def _level_in(info: ModelInfo, level: int, codec: str) -> int | None:
    """The level of a model's codec whose codes a prior knows that was trained for `level` of `codec`, the SHA-256."""
    if codec == info.sha256[CODEC]:
        return level
    known = [found for found in range(info.grid.num_levels) if (codec, level) in unchanged_since(info, found)]
    return known[0] if known else None


def run_description(run: Path) -> Any:
    """What a finished run of a prior says of itself; UserError for one that is not finished."""
    if not (run / _RUN).exists():
        raise UserError(f"the training of the prior in {run} is not finished", "run its command again")
    description = read_json(run / _RUN, "description of a prior")
    if "codec_hash" not in description:
        raise UserError(f"{run} holds what a fine-tuning learned, not a whole prior", "give the model it was put into")
    return description


def trained_prior(run: Path) -> AnyPrior:
    """The prior of a finished run."""
    description, weights = run_description(run), run / "prior.safetensors"
    prior = unfilled(make_prior, read_settings(PriorConfig, description["config"], str(run / _RUN)))
    damaged = UserError(f"{weights} is damaged", "run its training command again")
    try:
        if file_sha256(weights) != description["sha256"]:
            raise damaged
        prior.load_state_dict(load_file(weights), assign=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise damaged from error
    return prior


@dataclass(frozen=True)
class Trained:
    """A prior, and the names and the spelling that it knows: None where another program gave it those.

    `learned_from` are content hashes of its music, as far as that is known.
    """

    prior: AnyPrior
    vocabulary: Vocabulary | None
    alphabet: Alphabet | None
    learned_from: Sequence[str]


def open_codec(name: str | Path) -> tuple[ModelInfo, Codec]:
    """The codec of a model, given by its name or folder, or of a run that trained one, and what the model says.

    UserError where there is none.
    """
    folder = codec_folder(name)
    info = read_model(folder)
    return info, load_codec(folder, info)


def codec_folder(name: str | Path) -> Path:
    """The folder of a model, given by its name or folder, or of what a finished run of a codec made."""
    run = Path(name)
    if not (run / "run.json").exists():
        return zoo.locate(name)
    if not (run / "model").exists():
        raise UserError(f"the training of the codec in {run} is not finished", "run its command again")
    return run / "model"


def open_prior(name: str | Path, level: int, codec_hash: str, before: Sequence[Before] = ()) -> Trained:
    """The prior of `level` in a model, given by its name or folder, or that of a finished run.

    `codec_hash` names the codec whose codes it is to know, `before` says what the level was in those that this began
    with, whose codes are much the same; UserError for a prior that knows others.
    """
    levels = {codec_hash: level} | {sha256: then for sha256, then in before if sha256 != codec_hash}
    run = Path(name)
    if (run / _RUN).exists() or (run / "run.json").exists():
        part = _of_run(run)
        found, codec = part.level, part.codec
        wanted = levels.get(codec, level)
        if found != wanted:
            raise UserError(f"the prior in {run} is for level {found}", f"give one for level {wanted}")
        trained = Trained(part.load(), part.vocabulary, part.alphabet, part.learned_from)
    else:
        folder = zoo.locate(name)
        info = read_model(folder)
        own = info.sha256.get(CODEC, "")
        fitting = [
            found
            for found in range(info.grid.num_levels)
            if any(levels.get(sha256) == then for sha256, then in (Before(own, found), *begun_with(info, found)))
        ]
        codec, wanted = (codec_hash, fitting[0]) if fitting else (own, level)
        names = None if info.published_names else info.vocabulary
        trained = Trained(load_prior(folder, info, wanted), names, info.alphabet, info.learned_from)
    if codec not in levels:
        raise UserError(f"the prior in {name} knows the codes of another codec", "give one for these codes")
    return trained


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def model_card(info: ModelInfo, parameters: dict[str, int], tracks: Sequence[Track], variations: int = 0) -> str:
    """The text of a model card: what the model is, how well it predicts, and all it learned from.

    `variations`: how often each training track was heard besides at other speeds.
    """
    grid = info.grid
    levels = "1 level" if grid.num_levels == 1 else f"{grid.num_levels} levels"
    lines = [
        f"# {info.name}",
        "",
        f"A model of {levels} at {grid.sample_rate} Hz, {info.codec.channels} channel(s). "
        f"Licence of the weights: {info.about['licence']}.",
        "",
        "| part | parameters |",
        "| --- | --- |",
        *(f"| {name} | {count / 1e6:.1f} million |" for name, count in parameters.items()),
        "",
        "## Levels",
        "",
        "Bits per code on held-out tracks, by the averaged weights, beside the entropy of single codes (of the "
        "training tracks): the further below, the more of the music is predicted. A masked prior, which fills many "
        "codes at once, is measured filling them one by one in random order.",
        "",
        "| level | codes a second | single codes | prior | prior without labels | below |",
        "| --- | --- | --- | --- | --- | --- |",
        *_level_rows(info),
        "",
        "## What it learned from",
        "",
        *track_lines(tracks, variations),
    ]
    return "\n".join(lines) + "\n"


def _level_rows(info: ModelInfo) -> Iterable[str]:
    for level in range(info.grid.num_levels):
        figures = info.about["figures"].get(f"level_{level}")
        rate = f"| {level} | {info.grid.frame_rate(level):.1f} |"
        if figures is None:
            yield f"{rate} no prior | | | |"
            continue
        single, bits, unlabelled = (
            figures[name] for name in ("unigram_bits", "validation/bits", "validation/bits_unlabelled")
        )
        yield f"{rate} {single:.2f} | {bits:.2f} | {unlabelled:.2f} | {single - bits:.2f} |"


def track_lines(tracks: Sequence[Track], variations: int = 0) -> Iterable[str]:
    by_artist: dict[str, list[Track]] = defaultdict(list)
    for track in tracks:
        by_artist[track.artist or "unknown"].append(track)
    hours = sum(track.seconds for track in tracks) / 3600
    held_out = sum(split(track) == "validation" for track in tracks)
    varied = f" Training tracks were also heard in {variations} other keys and tempos." if variations else ""
    yield f"{len(tracks)} tracks, {hours:.1f} hours; {held_out} of them (marked *) only for validation.{varied}"
    yield ""
    yield "| artist | track | minutes | licence | source |"
    yield "| --- | --- | --- | --- | --- |"
    for artist, own in sorted(by_artist.items(), key=lambda item: item[0].casefold()):
        for track in sorted(own, key=lambda track: track.title or track.path.name):
            mark = "*" if split(track) == "validation" else ""
            title = _cell(track.title or track.path.stem) + mark
            credit = track.credit if track.credit and track.credit != artist else ""
            name = f"{_cell(artist)} ({_cell(credit)})" if credit else _cell(artist)
            licence, source = _cell(track.licence or "not stated"), _cell(track.source or "")
            yield f"| {name} | {title} | {track.seconds / 60:.1f} | {licence} | {source} |"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
