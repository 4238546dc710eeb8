"""The recipe for a masked prior: fills hidden frames, and may be taught by a prior that goes from frame to frame."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from orchestrion.codec import Codec
from orchestrion.config.prior import PriorConfig
from orchestrion.config.training import PriorTrainingConfig
from orchestrion.data.encoded import CodeBatch, CodeStore
from orchestrion.errors import UserError
from orchestrion.nn.chance import RowGenerator
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import AnyPrior, MaskedPrior, hide, hide_evenly
from orchestrion.prior.model import Prior, PriorLoss
from orchestrion.train.assemble import Trained, open_prior
from orchestrion.train.prior import PriorRecipe


class MaskedRecipe(PriorRecipe):
    """Trains the masked prior of one level.

    A `teacher` for the same codes gives it its weights to begin with, where they fit, and what it expects at each frame
    as a target beside the true codes: `config.teacher_share` of the whole. What it expects knows all that
    comes before, the pupil what is not hidden; averaged over what is hidden both want the same, the teacher's with less
    chance in it (Hinton et al. 2015).
    """

    def __init__(
        self,
        config: PriorTrainingConfig,
        store: CodeStore,
        level: int,
        codec: Codec,
        device: torch.device,
        teacher: Trained | None = None,
        *,
        prior: AnyPrior | None = None,
    ) -> None:
        super().__init__(config, store, level, codec, device, prior=prior)
        self.teacher = None if teacher is None else self._learn_from(teacher)
        self._teacher_knows_names = teacher is not None and teacher.vocabulary == store.vocabulary

    def _make(self, config: PriorConfig, rng: Generator) -> MaskedPrior:
        return MaskedPrior(config, rng)

    def _learn_from(self, trained: Trained) -> Prior:
        teacher = trained.prior
        assert isinstance(self.prior, MaskedPrior) and isinstance(teacher, Prior)
        theirs, ours = teacher.config, self.prior.config
        for what in ("sample_rate", "hop_length", "codebook_size", "depth"):
            if getattr(theirs, what) != getattr(ours, what):
                raise UserError(f"the teacher has another {what}", "give a prior of this level, for these codes")
        if theirs.lyrics or theirs.context_frames < ours.context_frames:
            raise UserError(
                f"the teacher sees {theirs.context_frames} frames and the prior is to see {ours.context_frames}, both "
                "without lyrics",
                "use a shorter context_frames, or another teacher",
            )
        teacher.to(self.device).eval()
        self._take(trained)
        return teacher

    def _training_loss(self, batch: CodeBatch, conditions: Conditions, rng: RowGenerator) -> PriorLoss:
        assert isinstance(self.prior, MaskedPrior)
        codes = batch.codes.to(self.device)
        whole = hide(rng.total, codes.shape[1], rng, self.prior.depth)
        hidden = whole[rng.first : rng.first + len(codes)]
        taught = None
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher(codes, self._told_teacher(conditions))
        loss = self.prior.loss(
            codes, hidden.to(codes.device), conditions, rng=rng, taught=taught, taught_share=self.config.teacher_share
        )
        # Parts with more hidden frames weigh more, so that the mean over parts is that over all hidden frames.
        share = hidden.sum() / whole.sum()
        weight = float(share) * rng.total / len(codes)
        return replace(loss, total=weight * loss.total)

    def _told_teacher(self, conditions: Conditions) -> Conditions:
        """The same for a teacher that knows the same names; nobody in particular for one with names of its own."""
        return conditions if self._teacher_knows_names else conditions.unlabelled()

    def _held_out_loss(self, codes: Tensor, conditions: Conditions, first: int) -> PriorLoss:
        """With every number of hidden frames alike: the bits of filling frames one by one in random order."""
        assert isinstance(self.prior, MaskedPrior)
        hidden = hide_evenly(len(codes), codes.shape[1], first, self.prior.depth)
        return self.prior.loss(codes, hidden.to(codes.device), conditions)


def open_teacher(name: str | Path, level: int, codec_hash: str) -> Trained:
    """The prior of `level` in a model, given by its name or folder, or that of a finished run.

    `codec_hash` names the codec whose codes are learned. UserError for a prior that cannot teach.
    """
    trained = open_prior(name, level, codec_hash)
    if not isinstance(trained.prior, Prior):
        raise UserError(f"the prior in {name} is a masked one itself", "give one that goes from frame to frame")
    return trained
