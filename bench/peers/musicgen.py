"""MusicGen-small's architecture with random weights, by transformers, run in its own environment.

    python bench/peers/musicgen.py [--seconds 60] [--json PATH]

Measured are a step of its decoder, which makes a frame of four codebooks, and EnCodec's decoder; the time for
`--seconds` of sound follows from them, without and with guidance, which draws from two rows. The text encoder is left
out, and so is what surrounds a step in its `generate`.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator

import torch
from figures import Figure, add_json_option, as_json, composing, timed, write_json
from transformers import EncodecConfig, EncodecModel, MusicgenForCausalLM
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.musicgen.configuration_musicgen import MusicgenDecoderConfig

FRAME_RATE, WINDOW_FRAMES, CODEBOOKS, CODES = 50, 1500, 4, 2048
"""It makes 30 seconds at a time; each further codebook comes a step later."""
PLACES = (0, 750, 1450)
TEXT_TOKENS = 16
NAME = "MusicGen-small"
NOTE = "MusicGen makes 30 s at a time; they are counted side by side, as if a window read nothing of the one before"
TINY = {"hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


def make_decoder(tiny: bool) -> MusicgenForCausalLM:
    """The settings that transformers begins with are those of MusicGen-small."""
    return MusicgenForCausalLM(MusicgenDecoderConfig(**(TINY if tiny else {}))).eval()


def make_codec() -> EncodecModel:
    """EnCodec for 32 kHz, as MusicGen uses it."""
    config = EncodecConfig(
        target_bandwidths=[2.2],
        sampling_rate=32_000,
        num_filters=64,
        upsampling_ratios=[8, 5, 4, 4],
        use_causal_conv=False,
        codebook_size=CODES,
        use_conv_shortcut=False,
    )
    return EncodecModel(config).eval()


def step_seconds(decoder: MusicgenForCausalLM, batch: int, place: int, given: argparse.Namespace) -> list[float]:
    """Seconds of a step with the draws of its codes, `place` steps being in the cache."""
    config = decoder.config
    shape = batch, config.num_attention_heads, place, config.hidden_size // config.num_attention_heads
    past = DynamicCache(config=config)
    for layer in range(config.num_hidden_layers if place else 0):
        past.update(torch.randn(shape), torch.randn(shape), layer)
    cache = EncoderDecoderCache(past, DynamicCache(config=config))
    text = torch.randn(batch, TEXT_TOKENS, config.hidden_size)
    codes = torch.zeros(batch * CODEBOOKS, 1, dtype=torch.long)

    def step(codes: torch.Tensor) -> torch.Tensor:
        made = decoder(codes, encoder_hidden_states=text, past_key_values=cache, use_cache=True)
        return torch.multinomial(made.logits[:, -1].softmax(-1), 1)

    values = []
    for _ in range(given.runs + 1):
        started = time.perf_counter()
        for _ in range(given.steps):
            codes = step(codes)
        values.append((time.perf_counter() - started) / given.steps)
    return values[1:]


def figures(given: argparse.Namespace) -> Iterator[Figure]:
    decoder, codec = make_decoder(given.tiny), make_codec()
    read = sum(one.numel() * one.itemsize for one in decoder.parameters())
    codes = torch.randint(CODES, (1, 1, CODEBOOKS, int(given.decode_seconds * FRAME_RATE)))
    decoded = timed(lambda: codec.decode(codes, [None]), given.runs)
    yield Figure(f"EnCodec decodes {given.decode_seconds:g} s", NAME, decoded)
    decoding = [each * given.seconds / given.decode_seconds for each in decoded]
    num_steps = given.seconds * FRAME_RATE / WINDOW_FRAMES * (WINDOW_FRAMES + CODEBOOKS - 1)
    for how, batch in ((NAME, 1), (f"{NAME}, guided", 2)):
        steps = []
        for place in PLACES:
            steps.append(step_seconds(decoder, batch, place, given))
            yield Figure(f"a decoder step after {place}", how, steps[-1], bytes_read=read)
        drawing = [num_steps * statistics.fmean(of_run) for of_run in zip(*steps, strict=True)]
        totals = [sum(pair) for pair in zip(drawing, decoding, strict=True)]
        yield Figure(composing(given.seconds), f"{how} (projected)", totals, note=NOTE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="Of sound.")
    parser.add_argument("--decode-seconds", type=float, default=10.0, help="Of sound that EnCodec decodes at once.")
    parser.add_argument("--steps", type=int, default=5, help="In each run.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="A small decoder, to try it.")
    add_json_option(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    made = []
    with torch.no_grad():
        for figure in figures(given):
            print(figure.what, figure.how, f"{statistics.median(figure.values):.4g} {figure.unit}", file=sys.stderr)
            made.append(figure)
    if given.json:
        write_json(given.json, made)
    else:
        print(as_json(made))


main()
