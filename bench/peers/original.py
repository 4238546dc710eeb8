"""The original openai/jukebox on a processor, in float32 with random weights, from a checkout that you give.

    python bench/peers/original.py --checkout FOLDER [--parts draw read codec mini] [--sizes 160M 11M] [--json PATH]

Its own code runs as it stands: its sampling loops, its caches, its VQ-VAE. It imports packages that are not needed
here and asks for CUDA and MPI; stand-ins take their place. Needs torch and numpy. Nothing of the checkout changes.
"""

import argparse
import contextlib
import copy
import io
import itertools
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from figures import (
    Figure,
    add_json_option,
    as_json,
    composing,
    decoding,
    drawing,
    encoding,
    reading,
    timed,
    write_json,
)
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

CODEBOOK = 2048
CONTEXT, BLOCKS = 8192, 128
PLACES = (0, 4096, 8000)
SIZES = {"160M": (1024, 48), "11M": (512, 12), "tiny": (64, 6)}
RATE, LEVELS = 44_100, 3


class Steps:
    """Stands for its progress bar: notes when each step began; can leave out the loop over the pieces of a prompt."""

    times: list[float] = []  # noqa: RUF012 its own code makes the instances
    skip_prompt = False

    def __init__(self, steps: Any, **_: Any) -> None:
        prompt = isinstance(steps, list)
        self.steps = [] if prompt and Steps.skip_prompt else steps

    def __iter__(self) -> Iterator[Any]:
        Steps.times = []
        for step in self.steps:
            Steps.times.append(time.perf_counter())
            yield step
        Steps.times.append(time.perf_counter())


def lend_stand_ins(checkout: Path) -> None:
    """Let its modules be imported where there is no CUDA, no MPI, and few of its packages."""
    alone: dict[str, Any] = {
        "ReduceOp": SimpleNamespace(SUM=None),
        "is_available": lambda: False,
        "get_rank": lambda: 0,
        "get_world_size": lambda: 1,
        **{name: lambda *_, **__: None for name in ("barrier", "broadcast", "all_reduce", "all_gather")},
    }
    sys.path.insert(0, str(checkout))
    import_module("jukebox.utils")  # a lent module does not bring in those above it
    lend("jukebox.utils.dist_adapter", **alone)
    lend("tqdm", tqdm=Steps)
    unneeded = {"fire": {}, "librosa": {}, "soundfile": {}, "av": {}, "unidecode": {"unidecode": str}}
    for name, content in unneeded.items():
        if find_spec(name) is None:
            lend(name, **content)
    torch.cuda.LongTensor = torch.LongTensor
    torch.cuda.empty_cache = lambda: None
    for kind in (Tensor, torch.nn.Module):
        kind.cuda = lambda self, *_, **__: self


def lend(name: str, **content: Any) -> None:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    vars(module).update(content)
    sys.modules[name] = module


def make_stack(width: int, num_layers: int) -> Any:
    from jukebox.prior.autoregressive import ConditionalAutoregressive2D

    made = ConditionalAutoregressive2D((CONTEXT,), CODEBOOK, width, num_layers, heads=1, attn_order=2, blocks=BLOCKS)
    return made.eval()


def fill_caches(stack: Any, batch: int, place: int) -> None:
    """Let `place` codes count as read: what they were does not change the time."""
    for layer in stack.transformer._attn_mods:
        attention = layer.attn
        attention.sample_t = place
        shape = batch, attention._suff_cache_len(), attention.n_state
        attention.cache = {"key": torch.randn(shape), "value": torch.randn(shape)}


def draw(stack: Any, batch: int, place: int, codes: int, runs: int) -> list[float]:
    """Seconds for each code of its own sampling loop, `runs` means over `codes` codes after as many to warm up."""
    last = place + (runs + 1) * codes
    assert last <= CONTEXT, (last, "codes are more than the context: draw fewer")
    if place:
        fill_caches(stack, batch, place)
        Steps.skip_prompt = True
        stack.primed_sample(batch, torch.zeros(batch, place, dtype=torch.long), sample_tokens=last)
        Steps.skip_prompt = False
    else:
        stack.sample(batch, sample_tokens=last)
    marks = Steps.times[::codes]
    return [(stop - start) / codes for start, stop in itertools.pairwise(marks[1:])]


def read(stack: Any, num_codes: int) -> None:
    """What its sampling does with a prompt, all of it in one piece; then one code."""
    stack.primed_sample(1, torch.zeros(1, num_codes, dtype=torch.long), sample_tokens=num_codes + 1)


def draw_figures(given: argparse.Namespace) -> Iterator[Figure]:
    for size in given.sizes:
        stack = make_stack(*SIZES[size])
        num_bytes = sum(one.nbytes for one in stack.transformer.parameters()) + stack.x_emb.weight.nbytes
        for batch in given.batches:
            for place in given.places:
                values = draw(stack, batch, place, given.codes, given.runs)
                yield Figure(drawing(size, batch, place), "original", values, bytes_read=num_bytes)


def read_figures(given: argparse.Namespace) -> Iterator[Figure]:
    for size in given.sizes:
        stack = make_stack(*SIZES[size])
        work = 2.0 * given.read * sum(one.numel() for one in stack.transformer.parameters() if one.dim() == 2)
        values = timed(partial(read, stack, given.read), given.runs)
        yield Figure(reading(size, given.read), "original", values, operations=work)


def make_codec(samples: int, **settings: Any) -> tuple[Any, Any]:
    """Its VQ-VAE and the settings it is made from; codebooks are drawn, which begin as zeros."""
    from jukebox.hparams import setup_hparams
    from jukebox.make_models import make_vqvae

    with contextlib.redirect_stdout(io.StringIO()):
        hparams = setup_hparams("vqvae", {"restore_vqvae": "", "sample_length": samples, **settings})
        codec = make_vqvae(hparams, "cpu")
    for block in codec.bottleneck.level_blocks:
        block.k.normal_()
    return codec, hparams


def operations(act: Callable[[Any], object], model: torch.nn.Module) -> float:
    """Of `act` on the model, counted without doing them."""
    with FlopCounterMode(display=False) as counter:
        act(copy.deepcopy(model).to("meta"))
    return float(counter.get_total_flops())


def random_codes(codec: Any, samples: int) -> list[Tensor]:
    return [torch.randint(CODEBOOK, (1, samples // int(hop))) for hop in codec.hop_lengths]


def codec_figures(given: argparse.Namespace) -> Iterator[Figure]:
    samples = int(given.seconds * RATE) // 128 * 128
    codec, _ = make_codec(samples)
    audio, codes = torch.randn(1, samples, 1) * 0.2, random_codes(codec, samples)
    work = operations(lambda model: model.encode(audio.to("meta")), codec)
    yield Figure(encoding(given.seconds), "original", timed(lambda: codec.encode(audio), given.runs), operations=work)
    for level in reversed(range(codec.levels)):
        given_codes = codes[level:]

        def decode(model: Any, codes: list[Tensor] = given_codes, level: int = level) -> object:
            return model.decode([one.to(model.bottleneck.level_blocks[0].k.device) for one in codes], start_level=level)

        work = operations(decode, codec)
        yield Figure(
            decoding(given.seconds, level), "original", timed(partial(decode, codec), given.runs), operations=work
        )


MINI_RATE, MINI_HOPS, MINI_CONTEXT, MINI_LAYERS = 22_050, (64, 512), 512, (5, 6)
MINI_NOTE = (
    "the original at `mini`'s size has convolutions of kernel 128 where ours have 256, one width and depth for both "
    "codecs, learned positions, no labels, and one stage of stride 8 to read the top codes; it draws every code of "
    "level 0 after the one before, where `mini` fills windows in passes, and in float32, where `mini` draws in int8"
)


def make_mini_prior(codec: Any, hparams: Any, level: int) -> Any:
    """Attention to everything, width 256, four heads."""
    from jukebox.make_models import make_prior

    settings = {
        "level": level,
        "n_ctx": MINI_CONTEXT,
        "prior_width": 256,
        "prior_depth": MINI_LAYERS[level],
        "heads": 4,
        "attn_order": 0,
        "m_attn": 1.0,
        "m_mlp": 4.0,
        "labels": False,
        "use_tokens": False,
        "cond_width": 256,
        "cond_depth": 6,
        "cond_dilation_growth_rate": 3,
        "cond_dilation_cycle": 3,
        "restore_prior": "",
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return make_prior(type(hparams)({**hparams, **settings}), codec, "cpu").eval()


def mini_figures(given: argparse.Namespace) -> Iterator[Figure]:
    """Composing with models of `mini`'s size: windows measured, their number multiplied."""
    samples = int(given.compose_seconds * MINI_RATE) // MINI_HOPS[1] * MINI_HOPS[1]
    codec, hparams = make_codec(
        samples,
        sr=MINI_RATE,
        levels=2,
        downs_t=(1, 1),
        strides_t=(MINI_HOPS[0], MINI_HOPS[1] // MINI_HOPS[0]),
        hvqvae_multipliers=None,
        width=192,
        depth=6,
        dilation_cycle=3,
    )
    codes, half = random_codes(codec, samples), MINI_CONTEXT // 2
    totals, whole = [0.0] * given.runs, composing(given.compose_seconds)
    for level in (1, 0):
        prior = make_mini_prior(codec, hparams, level)
        upper = [torch.randint(CODEBOOK, (1, MINI_CONTEXT * MINI_HOPS[0] // MINI_HOPS[1]))] if level == 0 else None

        def window(known: int, prior: Any = prior, upper: Any = upper) -> object:
            before = torch.randint(CODEBOOK, (1, known)) if known else None
            with contextlib.redirect_stdout(io.StringIO()):
                return prior.sample(1, z=before, z_conds=upper)

        first, further = (timed(partial(window, known), given.runs) for known in (0, half))
        share = min(1.0, codes[level].shape[1] / MINI_CONTEXT)  # of the first window
        windows = max(0.0, (codes[level].shape[1] - MINI_CONTEXT) / half)
        parts = [share * one + windows * other for one, other in zip(first, further, strict=True)]
        yield Figure(f"{whole}, level {level}", "original (projected)", parts)
        totals = [sum(pair) for pair in zip(totals, parts, strict=True)]
    decoded = timed(lambda: codec.decode(codes, start_level=0), given.runs)
    yield Figure(f"{whole}, decoding to audio", "original", decoded)
    totals = [sum(pair) for pair in zip(totals, decoded, strict=True)]
    yield Figure(whole, "original (projected)", totals, note=MINI_NOTE)


PARTS = {"draw": draw_figures, "read": read_figures, "codec": codec_figures, "mini": mini_figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkout", type=Path, required=True, help="Of github.com/openai/jukebox.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["160M", "11M"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--places", nargs="+", type=int, default=list(PLACES), help="Codes that are there already.")
    parser.add_argument("--codes", type=int, default=8, help="Codes in each run.")
    parser.add_argument("--read", type=int, default=4096, help="Codes of a prompt.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="Of audio for the VQ-VAE.")
    parser.add_argument("--compose-seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    add_json_option(parser)
    given = parser.parse_args()
    if not (given.checkout / "jukebox" / "prior" / "autoregressive.py").is_file():
        parser.error(f"{given.checkout} is no checkout of openai/jukebox")
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore", SyntaxWarning)
    lend_stand_ins(given.checkout)
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    figures = []
    with torch.no_grad():
        for part in given.parts:
            for figure in PARTS[part](given):
                print(figure.what, figure.how, f"{statistics.median(figure.values):.4g} {figure.unit}", file=sys.stderr)
                figures.append(figure)
    if given.json:
        write_json(given.json, figures)
    else:
        print(as_json(figures))


main()
