"""Trainings that take seconds: a few tones as music, tiny models."""

import sys
from pathlib import Path

import torch

import tiny
from orchestrion.audio import io
from orchestrion.checkpoints.folder import CODEC, load_codec, read_model
from orchestrion.config.prior import ConditionerConfig, TimingConfig, TransformerConfig
from orchestrion.config.training import (
    AdversarialConfig,
    CodecTrainingConfig,
    LyricsTrainingConfig,
    OptimizerConfig,
    PriorTrainingConfig,
    TrainingConfig,
)
from orchestrion.data.encoded import CodeStore
from orchestrion.data.manifest import Track, content_hash, split
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.train.assemble import open_codec
from orchestrion.train.codec import CodecRecipe
from orchestrion.train.composed import Composer
from orchestrion.train.encode import encode_tracks
from orchestrion.train.loop import train
from orchestrion.train.masked import MaskedRecipe, open_teacher
from orchestrion.train.parallel import first_alone
from orchestrion.train.prior import PriorRecipe
from orchestrion.train.run import begin_run

CPU = torch.device("cpu")


def music(folder: Path, tracks: int = 8) -> TrackStore:
    """Tones with overtones, on both sides of the split, prepared."""
    found: list[Track] = []
    number = 0
    while len(found) < tracks or {split(track) for track in found} != {"train", "validation"}:
        path = folder / f"tone-{number}.flac"
        time = torch.arange(4 * tiny.SAMPLE_RATE) / tiny.SAMPLE_RATE
        pitch = 50.0 + 9 * number
        audio = 0.4 * torch.sin(2 * torch.pi * pitch * time) + 0.2 * torch.sin(4 * torch.pi * pitch * time)
        io.write(path, audio[None], tiny.SAMPLE_RATE)
        track = Track(
            path=path,
            seconds=4.0,
            sample_rate=tiny.SAMPLE_RATE,
            channels=1,
            content_hash=content_hash(path),
            artist=("Ada", "Bix")[number % 2],
            genres=("folk",),
        )
        if len(found) < tracks or split(track) == "validation":
            found.append(track)
        number += 1
    for _ in prepare(found, folder / "audio", tiny.SAMPLE_RATE, 1):
        pass
    return TrackStore(folder / "audio")


def training(steps: int, **settings: object) -> TrainingConfig:
    given = {"batch_size": 2, "precision": "float32", "log_every": 1, "validate_every": 1000, "save_every": 2}
    optimizer = settings.pop("optimizer", OptimizerConfig(learning_rate=3e-3, warmup_steps=2))
    return TrainingConfig(steps=steps, optimizer=optimizer, **(given | settings))


def codec_config(steps: int, **settings: object) -> CodecTrainingConfig:
    return CodecTrainingConfig(
        codec=tiny.codec_config(),
        training=training(steps, **settings),
        chunk_seconds=0.5,
        validation_clips=2,
        validation_seconds=1.0,
    )


def principal_config(steps: int, **settings: object) -> CodecTrainingConfig:
    """As `codec_config`, for a codec that begins as principal components."""
    return codec_config(steps, **settings).model_copy(update={"codec": tiny.bands_config(), "principal_batches": 2})


def adversarial_config(steps: int, start_share: float = 0.5, **settings: object) -> CodecTrainingConfig:
    """As `codec_config`, with an adversary for the rest of the steps."""
    optimizer = OptimizerConfig(learning_rate=1e-3, warmup_steps=1, decay_share=0.0)
    adversarial = AdversarialConfig(
        start_share=start_share, ramp_steps=0, windows=(64, 32), width=3, optimizer=optimizer
    )
    return codec_config(steps, **settings).model_copy(update={"adversarial": adversarial})


def magnitudes_config(steps: int, **settings: object) -> CodecTrainingConfig:
    """As `adversarial_config`, for a level that writes samples below one that writes magnitudes."""
    config, magnitudes = adversarial_config(steps, **settings), tiny.bands_config()
    codec = magnitudes.model_copy(update={"levels": (tiny.codec_config().levels[0], *magnitudes.levels)})
    return CodecTrainingConfig.model_validate(config.model_copy(update={"codec": codec}).model_dump())


def composed_config(steps: int, share: float = 0.5, **settings: object) -> CodecTrainingConfig:
    """As `codec_config`, for the decoder of the finer level alone, which hears composed codes too."""
    given = codec_config(steps, **settings).model_dump()
    composed = {"decoders_only": True, "levels": (0,), "composed": {"share": share}}
    return CodecTrainingConfig.model_validate(given | composed)


def composed_recipe(store: TrackStore, model: Path, config: CodecTrainingConfig) -> CodecRecipe:
    """The codec of a model goes on; its prior of the finer level composes."""
    info, begun = open_codec(model)
    recipe = CodecRecipe(config, store, CPU, Composer(model, [0], begun, CPU))
    assert recipe.begin_with(begun, info) == []
    return recipe


def prior_config(level: int, steps: int, **settings: object) -> PriorTrainingConfig:
    optimizer = OptimizerConfig(kind="muon", learning_rate=1e-2, matrix_learning_rate=1e-2, warmup_steps=2)
    return PriorTrainingConfig(
        context_frames=(32, 16)[level],
        transformer=TransformerConfig(width=8, num_heads=2, patterns=("full", "full"), dropout=0.1),
        training=training(steps, optimizer=optimizer, **settings),
        timing=TimingConfig(num_bins=8, min_total_seconds=0.5, max_total_seconds=60.0) if level else None,
        conditioner=None if level else ConditionerConfig(width=6, strides=(2, 2), dilations=(1, 3)),
        validation_windows=4,
    )


def singing_config(steps: int, **settings: object) -> PriorTrainingConfig:
    """As `prior_config(1, …)`, for a prior that reads lyrics."""
    config = prior_config(1, steps, **settings)
    stack = config.transformer.model_copy(update={"patterns": ("full", "lyrics", "full")})
    encoder = TransformerConfig(width=8, num_heads=1, patterns=("full",), positions="learned")
    lyrics = LyricsTrainingConfig(num_characters=12, encoder=encoder)
    return config.model_copy(update={"transformer": stack, "lyrics": lyrics})


def run_codec(store: TrackStore, folder: Path, config: CodecTrainingConfig, **options: object) -> bool:
    with first_alone():
        begin_run(folder, "codec", config, {"tracks": store.data_hash})
    return train(CodecRecipe(config, store, CPU), config.training, folder, **options)


def encoded(store: TrackStore, model: Path, folder: Path, **options: object) -> CodeStore:
    info = read_model(model)
    for _ in encode_tracks(load_codec(model, info), info.sha256[CODEC], store, folder, **options):
        pass
    return CodeStore(folder)


def run_prior(
    store: CodeStore, model: Path, level: int, folder: Path, config: PriorTrainingConfig, **options: object
) -> bool:
    with first_alone():
        begin_run(folder, "prior", config, {"codes": store.data_hash, "level": level})
    recipe = PriorRecipe(config, store, level, load_codec(model, read_model(model)), CPU)
    return train(recipe, config.training, folder, **options)


def masked_config(steps: int, **settings: object) -> PriorTrainingConfig:
    """As `prior_config(0, …)`, for a prior that fills many frames at once."""
    config = prior_config(0, steps, **settings)
    return config.model_copy(update={"transformer": config.transformer.model_copy(update={"patterns": ("all", "all")})})


def run_masked(
    store: CodeStore, model: Path, folder: Path, config: PriorTrainingConfig, teacher: Path | None, **options: object
) -> bool:
    with first_alone():
        begin_run(folder, "prior", config, {"codes": store.data_hash, "level": 0})
    taught = None if teacher is None else open_teacher(teacher, 0, store.codec_hash)
    recipe = MaskedRecipe(config, store, 0, load_codec(model, read_model(model)), CPU, taught)
    return train(recipe, config.training, folder, **options)


def without_pictures() -> None:
    """Leave out what takes longest in so small a run, and is looked at by other tests."""
    for recipe in (CodecRecipe, PriorRecipe):
        recipe.show = lambda self, folder: None


def run_kind(
    kind: str, store: TrackStore, codes: CodeStore, model: Path, folder: Path, steps: int, **options: object
) -> bool:
    """A codec, the top prior or an upsampler; `options` are settings of the training, and `on_progress`."""
    progress = {"on_progress": options.pop("on_progress")} if "on_progress" in options else {}
    settings = {"batch_size": 4, **options}
    if kind == "codec":
        return run_codec(store, folder, codec_config(steps, **settings), **progress)
    if kind == "principal":
        return run_codec(store, folder, principal_config(steps, **settings), **progress)
    if kind == "adversarial":
        return run_codec(store, folder, adversarial_config(steps, start_share=0.5, **settings), **progress)
    if kind == "magnitudes":
        return run_codec(store, folder, magnitudes_config(steps, **settings), **progress)
    if kind == "composed":
        config = composed_config(steps, **settings)
        with first_alone():
            begin_run(folder, "codec", config, {"tracks": store.data_hash})
        return train(composed_recipe(store, model, config), config.training, folder, **progress)
    if kind == "masked":
        return run_masked(codes, model, folder, masked_config(steps, **settings), None, **progress)
    if kind == "singing":
        return run_prior(codes, model, 1, folder, singing_config(steps, **settings), **progress)
    level = {"top": 1, "upsampler": 0}[kind]
    return run_prior(codes, model, level, folder, prior_config(level, steps, **settings), **progress)


if __name__ == "__main__":  # run by the tests that kill it
    torch.set_num_threads(1)
    kind, source, model, folder, steps = sys.argv[1:]
    if kind == "codec":
        run_codec(TrackStore(Path(source)), Path(folder), codec_config(int(steps)))
    elif kind == "adversarial":
        run_codec(TrackStore(Path(source)), Path(folder), adversarial_config(int(steps), start_share=0.1))
    else:
        run_prior(CodeStore(Path(source)), Path(model), 1, Path(folder), prior_config(1, int(steps)))
