"""What accelerators hold and multiply, as their makers say."""

from typing import NamedTuple


class Device(NamedTuple):
    """Memory in bytes; products a second of dense matrices, in FLOP/s, in bfloat16 (None where there is no arithmetic
    of it) and in float32."""

    memory_bytes: float
    half_flops: float | None
    single_flops: float


DEVICES = {
    "h200": Device(141e9, 989e12, 67e12),
    "h100": Device(80e9, 989e12, 67e12),
    "a100": Device(80e9, 312e12, 19.5e12),
    "a100-40": Device(40e9, 312e12, 19.5e12),
    "v100": Device(32e9, None, 15.7e12),
    "l40s": Device(48e9, 362e12, 91.6e12),
    "rtx4090": Device(24e9, 165e12, 82.6e12),
    "t4": Device(16e9, None, 8.1e12),
    "cpu": Device(16e9, 660e9, 178e9),
}
"""By name. "cpu" is two cores with AVX-512, as measured for docs/experiments.md; the others are data sheets."""
