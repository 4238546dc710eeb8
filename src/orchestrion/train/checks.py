"""Why a run heads to noise: plain sentences from the numbers, each with what to try."""

import math
from collections.abc import Iterable

Numbers = dict[str, float]


def nonfinite(metrics: Numbers) -> Iterable[str]:
    """Numbers that are no numbers any more."""
    bad = sorted(name for name, value in metrics.items() if value != value or abs(value) == float("inf"))
    if bad:
        yield (
            f"{', '.join(bad)} stopped being a number: lower the learning rate, or train in float32 from the last "
            "checkpoint"
        )


AGAINST_COLLAPSE = {
    "nearest": "raise codebook.revive_below_share, or lower loss.commitment",
    "mapped": "raise loss.attraction, or lower loss.commitment",
    "scalars": "lower the learning rate, or take fewer codebook.scalar_values",
}
"""What to try, for each kind of codebook."""


def codebook_findings(
    metrics: Numbers, level: int, codebook_size: int, num_heard: int, kind: str = "nearest"
) -> Iterable[str]:
    """Collapse of a level's codebook, from the validation's `used` share and `entropy` in bits.

    It is of `num_heard` codes: no more entries than that can be used in it.
    """
    used = metrics[f"level_{level}/codebook_used"] * codebook_size
    entropy = metrics[f"level_{level}/codebook_entropy"]
    if used < 0.1 * min(codebook_size, num_heard):
        yield (
            f"level {level} uses {used:.0f} of {codebook_size} codebook entries, it has collapsed: "
            f"{AGAINST_COLLAPSE[kind]}"
        )
    elif 2**entropy < 0.1 * used:
        yield (
            f"level {level} leans on few entries (entropy {entropy:.1f} bits for {used:.0f} used): music that is "
            "mostly silence does this, and a learning rate that is too high"
        )


def codec_findings(
    metrics: Numbers, level: int, step: int, warmup_steps: int, *, magnitudes: bool = False
) -> Iterable[str]:
    """A decoder that ignores its codes; one that writes `magnitudes` keeps no waveform and is judged by them."""
    name, what = ("convergence_db", "spectral convergence") if magnitudes else ("snr", "signal to noise")
    found = metrics[f"level_{level}/{name}"]
    if step > 5 * warmup_steps and (found > -0.1 if magnitudes else found < 0.1):
        yield (
            f"level {level} reconstructs no better than silence ({what} {found:.2f} dB): lower the learning rate, and "
            "listen to the input"
        )


def adversarial_findings(metrics: Numbers, level: int, step: int, warmup_steps: int) -> Iterable[str]:
    """A discriminator that has won or lost outright; `step` and `warmup_steps` are its own."""
    right = metrics.get(f"level_{level}/told_apart")
    if right is None or step <= 5 * warmup_steps:
        return
    if right > 0.98:
        yield (
            f"the discriminator of level {level} tells every sound apart ({right:.0%} judged rightly), so the codec "
            "learns little from it and may head to noise: lower adversarial.optimizer.learning_rate, or raise "
            "adversarial.start_share"
        )
    elif right < 0.51:
        yield (
            f"the discriminator of level {level} tells nothing apart ({right:.0%} judged rightly), so what it asks of "
            "the codec is noise: raise adversarial.width or adversarial.optimizer.learning_rate"
        )


def prior_findings(metrics: Numbers, codebook_size: int, step: int, warmup_steps: int) -> Iterable[str]:
    """A prior that has learned nothing yet, or learns by heart.

    Reads `validation/bits`, `train/recent_bits` (the mean of the last steps, where there are any) and `unigram_bits`,
    in bits per code.
    """
    bits, unigram = metrics["validation/bits"], metrics["unigram_bits"]
    uniform = math.log2(codebook_size)
    if unigram > 0.98 * uniform:
        yield (
            f"the codes are close to uniform ({unigram:.2f} of {uniform:.0f} bits): if the loss does not leave that "
            "number the codec may code noise; listen to its reconstructions"
        )
    if step > 2 * warmup_steps and bits >= unigram:
        yield (
            f"the loss ({bits:.2f} bits) is not below the entropy of single codes ({unigram:.2f} bits), so the songs "
            "will be noise: train longer, or raise the learning rate if it falls slowly"
        )
    recent = metrics.get("train/recent_bits", bits)
    if recent + 0.7 < bits:
        yield (
            f"validation ({bits:.2f} bits) is far worse than training ({recent:.2f}): the model "
            "learns by heart; use more music, more dropout or a smaller model, or stop here"
        )
