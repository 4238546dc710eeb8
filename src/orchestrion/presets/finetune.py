"""How a trained model goes on learning from a little music of someone's own."""

from orchestrion.config.training import AdapterConfig, FinetuneConfig, OptimizerConfig, TrainingConfig


def finetune() -> FinetuneConfig:
    """Low-rank updates: a few megabytes that load beside the model."""
    return FinetuneConfig(training=_training(learning_rate=1e-3), adapter=AdapterConfig())


def finetune_whole() -> FinetuneConfig:
    """All weights, at a rate at which they do not forget what they know at once."""
    return FinetuneConfig(training=_training(learning_rate=1e-4), adapter=None)


def _training(learning_rate: float) -> TrainingConfig:
    return TrainingConfig(
        steps=300,
        batch_size=8,
        average_decay=0.98,
        validate_every=100,
        save_every=50,
        optimizer=OptimizerConfig(learning_rate=learning_rate, warmup_steps=20),
    )
