"""A level filled in a few passes beside the same drawn code by code: writes a table into docs/benchmarks.md.

python bench/upsampling.py CODES --codec MODEL --sequential RUN_OR_MODEL --parallel RUN_OR_MODEL

Both fill whole windows under the level above of held-out music. "surprise" is the bits per code that the sequential
upsampler finds in what was made; "spectra" the distance of its sound, decoded, from that of the true codes
(multi-resolution log-magnitudes); "Frechet" that of the distributions of mean and deviation of log-mel bands from those
of the true codes. Intervals hold 95 % of 2,000 means, or 200 Frechet distances, of windows whose tracks are drawn
again.
"""

import argparse
import math
import statistics
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio import spectral
from orchestrion.checkpoints.folder import load_codec, read_model
from orchestrion.checkpoints.lineage import unchanged_since
from orchestrion.codec import Codec
from orchestrion.codes import Codes
from orchestrion.config.sampling import LevelSampling
from orchestrion.data.encoded import CodeBatch, CodeStore
from orchestrion.errors import UserError
from orchestrion.evaluate.distance import LEAST_TRACKS, Described, distance, frechet_distance
from orchestrion.evaluate.interval import bootstrap_tracks
from orchestrion.generate.level import LevelShape, LevelTask, fill_level, finished
from orchestrion.generate.told import Told, told_of
from orchestrion.nn.fast import quantized
from orchestrion.prior import Prior
from orchestrion.prior.masked import AnyPrior, MaskedPrior
from orchestrion.train.assemble import open_prior
from peers.figures import Figure, timed
from report import add_output_options, estimate, machine, publish, table

DRAWS, FRECHET_DRAWS = 2000, 200
USUAL = (LevelSampling().order, LevelSampling().order_temperature)
BANDS = 24


def fill(
    prior: AnyPrior, batches: list[CodeBatch], level: int, sampling: LevelSampling, hop_length: int
) -> Iterator[Tensor]:
    """Every window anew, each with its own seed."""
    first = 0
    for batch in batches:
        rows, frames = batch.codes.shape
        coarser = batch.coarser
        assert coarser is not None
        told = Told(told_of(batch))
        shape = LevelShape(level, frames, hop_length, frames // coarser.shape[1])
        seeds = range(first, first + rows)
        task = LevelTask(prior, frames, shape, told, seeds, sampling, above=finished(coarser))
        for event in fill_level(task, batch.codes[:, :0]):
            made = event.codes
        assert made is not None
        yield made
        first += rows


def surprise(judge: Prior, batches: list[CodeBatch], made: list[Tensor]) -> Tensor:
    """Bits per code of each window."""
    found = []
    for batch, codes in zip(batches, made, strict=True):
        scores = judge(codes, told_of(batch)).log_softmax(-1).gather(-1, codes[..., None])[..., 0]
        found.append(-scores.mean(1) / torch.tensor(2.0).log())
    return torch.cat(found)


def sounds(codec: Codec, made: list[Tensor], level: int) -> Float[Tensor, "window channel sample"]:
    return torch.cat([codec.decode(Codes.empty(codec.grid).replace(level, codes), level) for codes in made])


def described(audio: Tensor, sample_rate: int) -> Float[Tensor, "window feature"]:
    """Mean and deviation over time of log-mel bands."""
    spectrum = spectral.magnitudes(audio.mean(1), 1024, 256, 1024)
    highest = 2595 * math.log10(1 + sample_rate / 1400)
    edges = 700 * (10 ** (torch.linspace(0, highest, BANDS + 2) / 2595) - 1)
    places = torch.linspace(0, sample_rate / 2, spectrum.shape[1])
    up = (places - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - places) / (edges[2:] - edges[1:-1])[:, None]
    bands = (torch.minimum(up, down).clamp(min=0) @ spectrum + 1e-3).log()
    return torch.cat([bands.mean(2), bands.std(2)], 1).double()


@torch.no_grad()
def measured(given: argparse.Namespace) -> tuple[str, list[Figure]]:
    info = read_model(given.codec)
    codec, level, codec_hash = load_codec(given.codec, info), given.level, CodeStore(given.codes).codec_hash
    same = unchanged_since(info, level)
    one, other = (open_prior(path, level, codec_hash, same) for path in (given.sequential, given.parallel))
    if one.vocabulary != other.vocabulary:
        raise UserError("the two priors know other names", "give such as learned from the same music")
    store = CodeStore(given.codes, one.vocabulary)
    sequential, parallel = one.prior.eval(), other.prior.eval()
    assert isinstance(sequential, Prior) and isinstance(parallel, MaskedPrior)
    if given.weights != "float32":
        drawing, filling = quantized(sequential, given.weights), quantized(parallel, given.weights, many_rows=True)
    else:
        drawing, filling = sequential, parallel
    frames, hop = parallel.config.context_frames, parallel.config.hop_length
    batches = list(store.validation_batches(8, level, frames, max_windows=given.windows))
    tracks = torch.tensor(store.validation_tracks(level, frames, max_windows=given.windows))
    if len(set(tracks.tolist())) < LEAST_TRACKS:
        raise UserError(f"fewer than {LEAST_TRACKS} held-out tracks last a window", "encode more music")
    alone = list(store.validation_batches(1, level, frames, max_windows=1))
    true = [batch.codes for batch in batches]
    count = sum(map(len, true))
    real = sounds(codec, true, level)
    features = Described(described(real, info.grid.sample_rate), tracks)

    def mean(values: Tensor) -> str:
        return estimate(bootstrap_tracks(tracks, lambda drawn: float(values[drawn].double().mean()), draws=DRAWS))

    rows, figures, slow = [], [], 0.0

    def add(name: str, made: list[Tensor], seconds: float | None) -> None:
        nonlocal slow
        bits, audio = surprise(sequential, batches, made), sounds(codec, made, level)
        spectra, ours = spectral.distance(real, audio).log_difference, described(audio, info.grid.sample_rate)
        apart = distance(frechet_distance, Described(ours, tracks), features, paired=True, draws=FRECHET_DRAWS)
        slow = slow or seconds or 0.0
        rows.append(
            [
                name,
                "" if seconds is None else f"{1e3 * seconds:.0f}",
                "" if seconds is None else f"{slow / seconds:.1f}",
                mean(bits),
                mean(spectra),
                estimate(apart),
            ]
        )
        print(*rows[-1], sep=" | ", flush=True)
        if seconds is not None:
            figures.append(Figure(f"a window of {frames} codes", name, [seconds], "s"))

    def seconds(prior: AnyPrior, sampling: LevelSampling) -> float:
        return statistics.median(timed(lambda: list(fill(prior, alone, level, sampling, hop)), given.runs))

    plain = LevelSampling(hop_fraction=1.0)
    if given.sequential_too:
        add("code by code", list(fill(drawing, batches, level, plain, hop)), seconds(drawing, plain))
    for passes, temperature in given.passes:
        for order, chance in given.orders:
            sampling = plain.model_copy(
                update={"passes": passes, "temperature": temperature, "order": order, "order_temperature": chance}
            )
            name = f"{passes} pass{'es' * (passes > 1)}, temperature {temperature:g}"
            name += "" if (order, chance) == USUAL else f", {order} {chance:g}"
            add(name, list(fill(filling, batches, level, sampling, hop)), seconds(filling, sampling))
    add("the music itself", true, None)
    header = ["", "ms a window", "times as fast", "surprise, bits", "spectra", "Frechet"]
    text = (
        f"{count} held-out windows of {frames} codes of level {level}, {frames * hop / info.grid.sample_rate:.2f} s "
        f"each, weights in {given.weights}; medians of {given.runs} runs of one window.\n\n{table(header, rows)}\n\n"
        f"{machine()} Script: `bench/upsampling.py`, which says what is measured."
    )
    return text, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codes", type=Path, help="A folder of codes by the model's codec.")
    parser.add_argument("--codec", type=Path, required=True, help="Model folder whose codec made CODES.")
    parser.add_argument("--sequential", type=Path, required=True, help="Run or model that draws code by code.")
    parser.add_argument("--parallel", type=Path, required=True, help="Run or model that fills windows in passes.")
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--windows", type=int, default=48)
    parser.add_argument(
        "--passes",
        type=lambda text: (int(text.split(":")[0]), float(text.split(":")[1])),
        nargs="+",
        default=[(1, 0.75), (2, 0.85), (4, 0.9), (8, 0.95), (16, 1.0), (32, 1.0)],
        help="Passes and temperature, such as 4:0.9.",
    )
    parser.add_argument(
        "--orders",
        type=lambda text: (text.split(":")[0], float(text.split(":")[1])),
        nargs="+",
        default=[USUAL],
        help="Orders and the chance in them, such as confidence:12 or random:0.",
    )
    parser.add_argument("--weights", choices=("float32", "float16", "int8"), default="int8")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-sequential", dest="sequential_too", action="store_false")
    add_output_options(parser)
    given = parser.parse_args()
    publish(given, "upsampling", *measured(given))


main()
