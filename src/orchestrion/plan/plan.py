"""Memory by part, arithmetic and hours of one training on so many devices, and what to change if it does not fit."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from orchestrion.config.training import TrainingConfig
from orchestrion.errors import UserError
from orchestrion.plan.cost import Cost, Saved
from orchestrion.plan.devices import Device

UTILISATION = 0.35
"""The share of a device's products a second that a training is taken to reach, unless another is given."""

_RESERVE = 0.1  # of the memory: for the allocator, the kernels and what is alive for a moment


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by what they are for."""

    weights: float
    average: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    codebook: float

    @property
    def total(self) -> float:
        return sum(float(getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True)
class Plan:
    """What a training takes on `num_devices` devices; `items` go through each at once.

    `tokens` are codes that are learned from, of all steps; `flops` those of all steps and devices. `advice` says what
    to change where the memory does not suffice, `precision` what is multiplied.
    """

    parameters: int
    memory: Memory
    device: Device
    num_devices: int
    items: int
    tokens: float
    flops: float
    hours: float
    advice: tuple[str, ...]
    precision: str

    @property
    def fits(self) -> bool:
        return self.memory.total <= (1 - _RESERVE) * self.device.memory_bytes


def plan(
    cost: Cost, training: TrainingConfig, device: Device, num_devices: int, *, utilisation: float = UTILISATION
) -> Plan:
    """The plan; UserError where the batch cannot be shared evenly.

    In the precision that is set where the device has arithmetic of it, else in float32; "auto" is bfloat16, if it has.
    """
    half = device.half_flops is not None and training.precision != "float32"
    training = training.model_copy(update={"precision": "bfloat16" if half else "float32"})
    made = _plan(cost, training, device, num_devices, utilisation)
    if made.fits:
        return made
    return _plan(cost, training, device, num_devices, utilisation, tuple(_advice(cost, training, made, utilisation)))


def _plan(
    cost: Cost,
    training: TrainingConfig,
    device: Device,
    num_devices: int,
    utilisation: float,
    advice: tuple[str, ...] = (),
) -> Plan:
    items = items_at_once(training, num_devices)
    flops = training.steps * step_flops(cost, training)
    speed = device.single_flops if training.precision == "float32" else device.half_flops
    assert speed is not None, "a plan in bfloat16 for a device without"
    return Plan(
        parameters=cost.parameters,
        memory=memory(cost, training, num_devices),
        device=device,
        num_devices=num_devices,
        items=items,
        tokens=float(training.steps) * training.batch_size * cost.tokens,
        flops=flops,
        hours=flops / (num_devices * speed * utilisation) / 3600,
        advice=advice,
        precision=training.precision,
    )


def items_at_once(training: TrainingConfig, num_devices: int) -> int:
    """Items of a batch in one part on one device; UserError where the batch cannot be shared evenly."""
    parts = num_devices * training.accumulate
    if training.batch_size % parts:
        raise UserError(
            f"a batch of {training.batch_size} cannot be shared evenly by {num_devices} devices"
            + (f" in {training.accumulate} parts each" if training.accumulate > 1 else ""),
            f"make training.batch_size a multiple of {parts}",
        )
    return training.batch_size // parts


def step_flops(cost: Cost, training: TrainingConfig) -> float:
    """Of one step on all devices: forward, backward, blocks once more where they are recomputed, and Muon."""
    item = cost.forward_flops + cost.backward_flops + (cost.block_flops if training.recompute else 0.0)
    muon = sum(map(_orthogonal_flops, cost.matrices)) if training.optimizer.kind == "muon" else 0.0
    return training.batch_size * item + muon


def _orthogonal_flops(shape: tuple[int, int]) -> float:
    """Five Newton-Schulz iterations of three products each."""
    short, long = sorted(shape)
    return 5.0 * (4 * short * short * long + 2 * short**3)


def memory(cost: Cost, training: TrainingConfig, num_devices: int) -> Memory:
    """Bytes on each device. Weights, their average, gradients and the optimizer's state are float32."""
    half = training.precision != "float32"
    size, shards = (2 if half else 4), (num_devices if training.parallel == "fsdp" else 1)
    by_muon = sum(rows * columns for rows, columns in cost.matrices) if training.optimizer.kind == "muon" else 0
    saved = cost.recomputed if training.recompute else cost.saved
    once = Saved() if training.recompute else cost.shared
    items = items_at_once(training, num_devices)
    activations = items * saved.num_bytes(size) + once.num_bytes(size)
    if training.recompute:
        activations += items * cost.block_saved.num_bytes(size)
    gathered = 0.0
    if shards > 1:  # this block and the next, and the gradient of one
        gathered = float(cost.block * (2 * size + 4))
    elif half:
        gathered = 2.0 * cost.cast
    return Memory(
        weights=4 * cost.parameters / shards,
        average=4 * cost.parameters / shards + 4 * cost.buffers,
        gradients=4 * cost.learned / shards,
        optimizer=(8 * (cost.learned - by_muon) + 4 * by_muon) / shards,
        gathered=gathered,
        activations=float(activations),
        codebook=4.0 * cost.buffers,
    )


def _advice(cost: Cost, training: TrainingConfig, made: Plan, utilisation: float) -> Iterator[str]:
    """The least that makes it fit, in the order of what it costs."""
    per_device = training.batch_size // made.num_devices
    alone: dict[str, object] = (
        {"accumulate": per_device} if made.num_devices * per_device == training.batch_size else {}
    )
    steps: list[tuple[str, dict[str, object]]] = [
        ("training.parallel = 'fsdp' (each device keeps a part of every weight)", {"parallel": "fsdp"}),
        (f"training.accumulate = {per_device} (one item at once)", alone),
        ("training.recompute = true (blocks are computed again for the gradient)", {"recompute": True}),
    ]
    said: list[str] = []
    changed = training
    for sentence, update in steps:
        if not update or all(getattr(changed, name) == value for name, value in update.items()):
            continue
        if "parallel" in update and made.num_devices == 1:
            continue
        if "recompute" in update and not cost.block_flops:
            continue
        if not cost.refused.isdisjoint(update):
            continue
        changed = changed.model_copy(update=update)
        said.append(sentence)
        if _plan(cost, changed, made.device, made.num_devices, utilisation).fits:
            yield from said
            return
    yield from said
    sharded = changed if "parallel" in cost.refused else changed.model_copy(update={"parallel": "fsdp"})
    for factor in (2, 4, 8, 16, 32, 64):
        more = made.num_devices * factor
        if sharded.batch_size % more:
            break
        each = 1 if "accumulate" in cost.refused else sharded.batch_size // more
        enough = sharded.model_copy(update={"accumulate": each})
        if _plan(cost, enough, made.device, more, utilisation).fits:
            yield f"and then {more} devices"
            return
    yield "and that is not enough: take a smaller model, or devices with more memory"
