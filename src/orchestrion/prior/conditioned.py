"""What every prior is made of: conditions turned into vectors, and a transformer over tokens."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from orchestrion.config.prior import PriorConfig
from orchestrion.errors import UserError
from orchestrion.prior.labels import Conditions, LabelEmbedding, TimingEmbedding
from orchestrion.prior.lyrics import LyricEncoder, SungCharacter
from orchestrion.prior.tokens import TokenModel
from orchestrion.prior.upsample import Conditioner

_LYRIC_POSITIONS = "lyrics.tokens.positions"


@dataclass(frozen=True)
class ToldVectors:
    """Conditions as vectors: `batch width`, `batch token width` and `batch character width`."""

    start: Tensor | None
    conditioning: Tensor | None
    memory: Tensor | None


class ConditionedModel(nn.Module):
    """A transformer over the codes of one level, and what it is told.

    Labels make the start vector, and where asked for one more for each frame, timing, coarser codes and what is sung a
    vector added to each frame, lyrics a memory to attend to or else tokens ahead of the codes.
    """

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        width = config.transformer.width
        self.config = config
        self.first_code = config.first_code
        self.labels = LabelEmbedding(config.labels, width) if config.labels else None
        self.timing = (
            TimingEmbedding(
                config.timing,
                width,
                config.sample_rate,
                config.context_frames * config.hop_length,
                config.context_frames,
            )
            if config.timing
            else None
        )
        self.conditioner = Conditioner(config.conditioner, config.codebook_size, width) if config.conditioner else None
        self.lyrics = LyricEncoder(config.lyrics, width) if config.lyrics and config.lyrics.encoder else None
        self.sung = SungCharacter(config.lyrics.alphabet_size, width) if config.lyrics and config.paced else None
        self.tokens = TokenModel(
            config.transformer,
            self.first_code + config.codebook_size,
            config.context_tokens,
            own_start=config.labels is None,
            memory_width=width if self.lyrics else None,
            predicts=config.depth == 1,
            tied_output=config.tied_output,
            condition_output=config.condition_output,
            depth=config.depth,
        )

    def _tell(self, conditions: Conditions, num_frames: int, rng: Generator | None = None) -> ToldVectors:
        assert num_frames <= self.config.context_frames, f"{num_frames} frames of {self.config.context_frames}"
        num_tokens = num_frames // self.config.depth
        start = self.labels(conditions) if self.labels is not None else None
        per_frame = []
        if start is not None and self.config.labels is not None and self.config.labels.every_frame:
            per_frame.append(start[:, None].expand(-1, num_tokens, -1))
        if self.timing is not None:
            vectors = self.timing(conditions.total_samples, conditions.start_samples)
            per_frame.append(vectors[:, :num_frames])
        if self.conditioner is not None:
            coarser = given(conditions.coarser, "codes of the level above")
            vectors = self.conditioner(coarser)
            assert vectors.shape[1] >= num_tokens, f"{coarser.shape[1]} coarser codes for {num_frames} frames"
            per_frame.append(vectors[:, :num_tokens])
        if self.sung is not None and conditions.sung is not None:
            vectors = self.sung(given(conditions.lyrics, "lyrics"), conditions.sung[:, :num_frames])
            per_frame.append(vectors)
        conditioning = sum(per_frame[1:], per_frame[0]) if per_frame else None
        if conditioning is not None and self.config.lyric_tokens:
            conditioning = F.pad(conditioning, (0, 0, self.config.lyric_tokens, 0))
        memory = None
        if self.lyrics is not None:
            memory = self.lyrics(given(conditions.lyrics, "lyrics"), rng=rng)
        return ToldVectors(start, conditioning, memory)

    @torch.no_grad()
    def begin_with(self, other: "ConditionedModel") -> list[str]:
        """Take over the weights of `other` wherever name and shape are the same; returns their names.

        Learned positions of lyrics are counted from the end, where short lyrics stand, and repeat where there are more.
        """
        own, theirs = self.state_dict(), other.state_dict()
        if _LYRIC_POSITIONS in own and _LYRIC_POSITIONS in theirs:
            known = theirs[_LYRIC_POSITIONS]
            from_end = torch.arange(-len(own[_LYRIC_POSITIONS]), 0, device=known.device)
            theirs[_LYRIC_POSITIONS] = known[from_end % len(known)]
        taken = [name for name, tensor in own.items() if name in theirs and theirs[name].shape == tensor.shape]
        for name in taken:
            own[name].copy_(theirs[name])
        return taken

    @torch.no_grad()
    def _initialise(self, rng: Generator | None) -> None:
        """Linear layers keep the size of what goes through; what closes a branch starts at zero."""
        std = 0.02 if self.config.tied_output else 0.1
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_(0, std, generator=rng)
            elif isinstance(module, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):
                inputs = module.weight[0].numel()
                if isinstance(module, nn.ConvTranspose1d):
                    inputs = module.in_channels * module.kernel_size[0] // module.stride[0]
                module.weight.normal_(0, inputs**-0.5, generator=rng)
                if module.bias is not None:
                    module.bias.zero_()
        for name, parameter in self.named_parameters():
            if name.startswith(("tokens.output.", "head.outputs.")) or name.endswith(
                ("attention.output.weight", "mlp.narrow.weight", "lyrics.output.weight")
            ):
                parameter.zero_()
            elif name.endswith(("tokens.start", "tokens.positions", "hidden", "nothing")):
                parameter.normal_(0, std, generator=rng)
            elif name.endswith("known.weight"):  # of embeddings, which are so small
                parameter.div_(std)
            elif name == "conditioner.norm.weight":
                parameter.fill_(std)


def given(tensor: Tensor | None, name: str) -> Tensor:
    """The tensor; UserError where a prior that needs it was not told."""
    if tensor is None:
        raise UserError(f"this prior needs {name}", "give them with the conditions")
    return tensor
