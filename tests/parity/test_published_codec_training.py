"""Training the published VQ-VAE: same losses, same gradients, and codebooks that move the same way.

Numbers agree within 1e-4, or 1e-5 of themselves where they are large: losses are up to 1,000 here.
"""

import json
import math
from pathlib import Path
from typing import Any

import published_codec
import pytest
import torch
from published_codec import Case
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from orchestrion.audio.spectral import magnitudes
from orchestrion.codec import Codec
from orchestrion.codec.codebook import Codebook
from orchestrion.codec.loss import SCALE_SIZE, loss_scales, reconstruction_loss
from orchestrion.codec.model import LevelOutput
from orchestrion.codes import entropy_bits
from orchestrion.config import CodecLossConfig
from orchestrion.presets import published

SPECTRAL = {"spectral": 1.0, "log_spectral": 0.0}


@pytest.fixture
def case(parity: Path) -> Case:
    return published_codec.load(parity / "vqvae")


def close(actual: Tensor | float, expected: Any) -> None:
    actual = torch.as_tensor(actual).detach()
    assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=1e-5, atol=1e-4)


def settings(case: Case, **changes: Any) -> CodecLossConfig:
    """The published ones with the scales of the fixtures' data set."""
    scales = case.expected["bandwidth"]
    given = {
        "waveform_scale": scales["l2"],
        "absolute_scale": scales["l1"],
        "spectral_scale": scales["spec"],
    }
    return CodecLossConfig.model_validate({**dict(published.codec().loss), **given, **changes})


def weights(case: Case, loss_fn: str, lmix_l1: float) -> dict[str, float]:
    """Of the errors of the waveform that make up a published loss function."""
    hps = case.expected["loss_hps"]
    return {
        "l1": {"absolute": 1.0, "waveform": 0.0, "largest": 0.0},
        "l2": {"absolute": 0.0, "waveform": 1.0, "largest": 0.0},
        "linf": {"absolute": 0.0, "waveform": 0.0, "largest": 1.0},
        "lmix": {"absolute": lmix_l1, "waveform": hps["lmix_l2"], "largest": hps["lmix_linf"]},
    }[loss_fn]


def evaluated(case: Case, loss: CodecLossConfig) -> list[LevelOutput]:
    with torch.no_grad():
        found: list[LevelOutput] = case.codec(loss).eval()(case.io["audio"])
    return found


def waveform_part(output: LevelOutput, loss: CodecLossConfig) -> Tensor:
    return output.reconstruction.total - loss.spectral * output.reconstruction.spectral


def test_published_settings_are_those_of_the_original(case: Case) -> None:
    hps = case.expected["loss_hps"]
    assert settings(case) == settings(
        case,
        **weights(case, hps["loss_fn"], hps["lmix_l1"]),
        spectral=hps["multispectral"],
        log_spectral=0.0,
        commitment=hps["commit"],
        num_largest=hps["linf_k"],
        relative=False,
        spectral_sizes=tuple(
            zip(
                *(hps[f"multispec_loss_{part}"] for part in ("n_fft", "hop_length", "window_size")),
                strict=True,
            )
        ),
    )
    assert case.config.codebook.decay == hps["l_mu"]


@pytest.mark.parametrize("loss_fn", ["l1", "l2", "linf", "lmix"])
def test_losses(case: Case, loss_fn: str) -> None:
    expected = case.expected["eval_losses"][f"{loss_fn}|nonrelative=True"]
    loss = settings(case, **weights(case, loss_fn, expected["lmix_l1"]))
    outputs = evaluated(case, loss)
    for level, output in enumerate(outputs):
        close(waveform_part(output, loss), expected[f"recons_loss_l{level + 1}"])
        close(output.reconstruction.spectral, expected[f"multispectral_loss_l{level + 1}"])
    close(torch.stack([output.commitment for output in outputs]).sum(), expected["commit_loss"])
    close(torch.stack([output.loss for output in outputs]).sum(), expected["loss"])


@pytest.mark.parametrize("nonrelative", [True, False])
def test_spectral_losses_of_one_size(case: Case, nonrelative: bool) -> None:
    """Their weight is 0 in the published settings: `nonrelative` does not change the loss itself."""
    outputs = evaluated(case, settings(case))
    loss = settings(case, relative=not nonrelative, spectral_sizes=(SCALE_SIZE,))
    terms = [reconstruction_loss(case.io["audio"], output.made, loss, 44_100).spectral for output in outputs]
    compared = 0
    for name, expected in case.expected["eval_losses"].items():
        if name.endswith(f"nonrelative={nonrelative}"):
            for level, term in enumerate(terms):
                close(term, expected[f"spectral_loss_l{level + 1}"])
            close(torch.stack(terms).sum(), expected["spectral_loss"])
            if not nonrelative:
                close(terms[0], expected["spectral_convergence"])
            compared += 1
    assert compared == 4


def test_spectral_losses_of_two_signals(case: Case) -> None:
    """Item by item, because ours is the mean of a batch."""
    expected = case.expected["losses_a_b"]
    target, estimate = case.io["loss_a"], case.io["loss_b"]
    kinds = {
        "spectral_loss": settings(case, spectral_scale=1.0, spectral_sizes=(SCALE_SIZE,)),
        "multispectral_loss": settings(case, spectral_scale=1.0),
        "spectral_convergence": settings(case, relative=True, spectral_sizes=(SCALE_SIZE,)),
    }
    for kind, loss in kinds.items():
        for item, number in enumerate(expected[kind]):
            one = slice(item, item + 1)
            close(reconstruction_loss(target[one], estimate[one], loss, 44_100).spectral, number)
    # Ours adds more to a magnitude before its logarithm (`LOG_FLOOR`), and published training leaves this term out.
    true, made = (magnitudes(audio, *SCALE_SIZE) + 1e-4 for audio in (target, estimate))
    close((true.log() - made.log()).abs().mean(), expected["log_magnitude_loss"])


def test_scales_of_a_data_set(parity: Path) -> None:
    expected = json.loads((parity / "train" / "expected.json").read_text())["bandwidth"]
    clips = load_file(parity / "train" / "io.safetensors")["bandwidth_items"].transpose(1, 2)
    scales = loss_scales(clips, (expected["n_fft"], expected["hop_length"], expected["window_size"]))
    close(scales.waveform_scale, expected["result"]["l2"])
    close(scales.absolute_scale, expected["result"]["l1"])
    close(scales.spectral_scale, expected["result"]["spec"])


def prepared(case: Case, kind: str) -> Codec:
    """As the original is before its first step: with a codebook from a checkpoint, or with none."""
    codec = case.codec(settings(case))
    for part, num_vectors in zip(codec.levels, case.expected["train"][kind]["num_tokens_per_level"], strict=False):
        book = part.codebook
        assert isinstance(book, Codebook)
        book.filled.fill_(True)
        book.counts.fill_(num_vectors / book.config.size)
        book.sums.copy_(book.entries * book.counts[:, None])
    return codec


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


@pytest.mark.parametrize("kind", ["restored", "fresh"])
def test_two_steps_of_training(case: Case, kind: str) -> None:
    """One generator with the original's seed draws the rows that the original drew."""
    codec = prepared(case, kind)
    books = [part.codebook for part in codec.levels]
    for number, step in enumerate(case.expected["train"][kind]["steps"], 1):
        name, told = f"train_{kind}_step{number}", step["metrics"]
        audio = case.io["audio" if number == 1 else f"audio_step{number}"]
        before = [case.io.get(f"{name}.l{level}.k_init", book.entries).clone() for level, book in enumerate(books)]
        codec.zero_grad()
        outputs = codec(audio, torch.Generator().manual_seed(step["torch_manual_seed"]))
        loss = torch.stack([output.loss for output in outputs]).sum()
        loss.backward()

        close(loss, step["loss"])
        close(outputs[0].made, case.io[f"{name}.x_out"])
        for level, (book, output) in enumerate(zip(books, outputs, strict=True)):
            close(waveform_part(output, codec.config.loss), told[f"recons_loss_l{level + 1}"])
            close(output.reconstruction.spectral, told[f"multispectral_loss_l{level + 1}"])
            close(book.entries, case.io[f"{name}.l{level}.k"])
            close(book.sums, case.io[f"{name}.l{level}.k_sum"])
            close(book.counts, case.io[f"{name}.l{level}.k_elem"])
        close(torch.stack([output.commitment for output in outputs]).sum(), told["commit_loss"])
        close(outputs[0].reconstruction.waveform, told["l2_loss"])

        # The original's figures of the codebooks are means over the levels, its entropy is in nats.
        size = books[0].config.size
        used = [torch.bincount(output.codes.flatten(), minlength=size).float() for output in outputs]
        close(mean([entropy_bits(counts) * math.log(2) for counts in used]), told["entropy"])
        close(mean([float((counts >= 1).sum()) for counts in used]), told["used_curr"])
        close(mean([float((book.counts >= book.config.revive_below_count).sum()) for book in books]), told["usage"])
        moves = [(book.entries - old).square().mean().sqrt() for book, old in zip(books, before, strict=True)]
        close(torch.stack(moves).mean(), told["dk"])
        compare_gradients(case, codec, step["grad_norm"], step["grad_norm_total"])
        if (kind, number) == ("restored", 1):
            compare_gradient_tensors(case, codec)


def compare_gradients(case: Case, codec: Codec, norms: dict[str, float], total: float) -> None:
    """Norms per parameter.

    A hidden unit within rounding of the edge of its ReLU may fall on either side of it, which moves the gradients of
    all layers before it in that level; one does here. Hence most are compared closely and all of them loosely.
    """
    gradients = {case.keys[name]: parameter.grad for name, parameter in codec.named_parameters()}
    assert gradients.keys() == norms.keys()
    apart = sorted(abs(float(found.norm()) / norms[key] - 1) for key, found in gradients.items() if found is not None)
    assert len(apart) == len(norms)
    assert apart[3 * len(apart) // 4] < 1e-5
    assert apart[-1] < 1e-3
    assert math.hypot(*(float(found.norm()) for found in gradients.values() if found is not None)) == pytest.approx(
        total, rel=1e-4
    )


def compare_gradient_tensors(case: Case, codec: Codec) -> None:
    compared = 0
    for name, parameter in codec.named_parameters():
        expected = case.io.get(f"grad.{case.keys[name]}")
        if expected is not None:
            assert parameter.grad is not None
            assert float((parameter.grad - expected).norm() / expected.norm()) < 1e-3, name
            compared += 1
    assert compared == sum(name.startswith("grad.") for name in case.io)
