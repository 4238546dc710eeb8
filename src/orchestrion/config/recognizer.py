"""Settings of a model that writes down what is sung: its speech sounds, or its letters."""

from typing import Literal

from pydantic import Field

from orchestrion.config.base import Settings
from orchestrion.config.training import OptimizerConfig, TrainingConfig


class RecognizerConfig(Settings):
    """Mel bands, a convolution that halves their rate, dilated residual ones, a recurrent layer in both directions."""

    hears: Literal["phonemes", "letters"] = "phonemes"
    symbols: tuple[str, ...] = Field(min_length=1)
    """Speech sounds, each one letter of the International Phonetic Alphabet, or letters from a to z."""
    sample_rate: int = Field(default=22_050, gt=0)
    window: int = Field(default=1024, gt=0, multiple_of=8)
    """Of the transform, in samples; bands are taken four times as often."""
    num_bands: int = Field(default=80, ge=1)
    width: int = Field(default=192, ge=1)
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    recurrent_width: int = Field(default=128, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    roughness: float = Field(default=0.0, ge=0, le=1)
    """How much of noise, blur and holes is put into what it hears while it learns (`align.recognizer.roughened`)."""

    @property
    def hop_length(self) -> int:
        """Samples of a frame of symbols."""
        return self.window // 2


class RecognizerTrainingConfig(Settings):
    """All that decides the training of a recogniser, but for the sung music."""

    training: TrainingConfig = TrainingConfig(
        steps=1500, batch_size=8, average_decay=0.99, optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=50)
    )
    hears: Literal["phonemes", "letters"] = "phonemes"
    """Speech sounds judge singing; letters, which every text has, find words in it."""
    chunk_seconds: float = Field(default=8.0, gt=0)
    frame_weight: float = Field(default=1.0, ge=0)
    """Of the loss that says which sound each frame has, beside that of the sequence (CTC)."""
    width: int = Field(default=192, ge=1)
    recurrent_width: int = Field(default=128, ge=1)
    dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    roughness: float = Field(default=0.0, ge=0, le=1)
    coded_share: float = Field(default=0.5, ge=0, le=1)
    """How many of the chunks are heard as a codec gives them back, where one is given: to judge what is composed."""
    artist_balance: float = Field(default=0.3, ge=0, le=1)
    validation_chunks: int = Field(default=64, ge=1)
