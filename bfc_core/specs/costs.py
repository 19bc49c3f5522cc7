"""What a job will take: torch-free arithmetic, made before anything is queued."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

from bfc_core.specs.baseline import (
    SCREEN_SAMPLES,
    KernelRidge,
    MlpBaseline,
    RandomFeatures,
    RecursiveFeatureMachine,
    TangentKernelRidge,
    TwoLayerNetwork,
    fit_length,
)
from bfc_core.specs.data import SYNTHETIC, Hierarchical, RandomHierarchy
from bfc_core.specs.model import (
    Alexnet,
    Densenet,
    Mlp,
    QuadraticDensenet,
    Resnet,
    TreeConvnet,
    Vgg,
    WideResnet,
)
from bfc_core.specs.resolution import heads, last_level, layers, stages
from bfc_core.specs.train import BaselineSpec, ProbeSpec, TrainSpec

PROCESS_BYTES = 400 * 2**20  # a process with torch loaded, before any data
FLOPS_PER_SECOND = 2.5e10  # one CPU core on matrices of these sizes
CONVOLUTION_FLOPS_PER_SECOND = (
    5e10  # one CPU core on batches of pictures, as measured by bench/images_speed.py
)
SOLVER_FLOPS_PER_SECOND = 4e10  # one CPU core on a baseline's products and factorisations, in float32
KERNEL_FLOPS = 60  # as much as a distance, a root and an exponential take beside the product of two samples
DRAWN_SECONDS = 0.04  # a baseline's target and samples
STEP_SECONDS = 1.2e-4  # what a step costs beside its arithmetic, once for all members of a pack
# Bytes a coordinate at the peak, as measured with float32 and float64: inputs are drawn in float64 and kept beside their
# squares; a target's statistics come from as many inputs as these.
DRAWN_BYTES, STATISTICS_BYTES, STATISTICS = 48, 26, 40_000
# Of weights: gradients, moments, the initialisation, the stage's start, snapshots on their way and a checkpoint.
WEIGHT_COPIES = 20
EVALUATED = 8_000  # inputs that go through a dense network at once
PICTURES = 60_000  # samples assumed of an uploaded data set until it is read
PIXELS = 32 * 32


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected cost of one job; `largest` points to the field that memory hangs on most.

    `shared_seconds` are those of `seconds` that members of one pack spend together.
    """

    parameters: int
    flops: int
    snapshot_bytes: int
    memory_bytes: int
    device_memory_bytes: int
    seconds: float
    largest: str = "/spec"
    shared_seconds: float = 0.0

    def json(self) -> dict[str, Any]:
        """What callers are told."""
        names = (field.name for field in fields(self) if field.name != "shared_seconds")
        return {name: getattr(self, name) for name in names}


def estimate(spec: TrainSpec | BaselineSpec | ProbeSpec) -> Estimate:
    """The cost of one train, baseline or probe spec. Studies add up their members with `combined`."""
    if isinstance(spec, TrainSpec):
        return _train(spec)
    if isinstance(spec, BaselineSpec):
        return _baseline(spec)
    return Estimate(
        0, 10**9 * len(spec.probes), 0, PROCESS_BYTES + 2**28, 0, 2.0 * len(spec.probes), "/spec/probes"
    )


def combined(estimates: Iterable[Estimate], packs: Iterable[str | None] = ()) -> Estimate:
    """Members together: sums, but memory is that of the process that needs most, and a pack's steps are taken together.

    `packs` names the pack of each member that shares its process with others; None, or too few: it has its own.
    """
    found = list(estimates)
    if not found:
        return Estimate(0, 0, 0, PROCESS_BYTES, 0, 0.0)
    processes: dict[str | int, list[Estimate]] = {}
    for place, (one, pack) in enumerate(zip_longest(found, packs)):
        processes.setdefault(place if pack is None else pack, []).append(one)
    widest = max(processes.values(), key=lambda process: together(process)[0])
    memory_bytes, device_memory_bytes = together(widest)
    return Estimate(
        parameters=sum(one.parameters for one in found),
        flops=sum(one.flops for one in found),
        snapshot_bytes=sum(one.snapshot_bytes for one in found),
        memory_bytes=memory_bytes,
        device_memory_bytes=device_memory_bytes,
        seconds=round(sum(_seconds(process) for process in processes.values()), 3),
        largest=max(widest, key=lambda one: one.memory_bytes).largest,
    )


def _seconds(pack: Sequence[Estimate]) -> float:
    """Of members that share a process: what each computes, and the longest one's steps."""
    own = sum(one.seconds - one.shared_seconds for one in pack)
    return own + max(one.shared_seconds for one in pack)


def together(pack: Sequence[Estimate]) -> tuple[int, int]:
    """Memory and device memory in bytes of members that share a process: one process, and every member's own part."""
    own = sum(one.device_memory_bytes for one in pack)
    return max(one.memory_bytes - one.device_memory_bytes for one in pack) + own, own


def input_dim(data: Any) -> int:
    """Coordinates of one input."""
    if isinstance(data, RandomHierarchy):
        return int(data.vocabulary * data.branching**data.levels)
    return int(getattr(data, "input_dim", 3 * PIXELS))


def layer_parameters(spec: TrainSpec) -> dict[int, int]:
    """Trainable parameters of each layer."""
    model, dim = spec.model, input_dim(spec.data)
    if isinstance(model, QuadraticDensenet):
        expanded = model.width * (model.width + 1) // 2 if model.expansion == "random" else model.width
        return {
            layer: model.width * (2 * dim + (layer - 2) * expanded + 1)
            for layer in range(2, last_level(spec) + 1)
        }
    if isinstance(model, Mlp):
        widths = [dim] + [model.width] * model.depth
        return {i + 1: widths[i] * widths[i + 1] + widths[i + 1] for i in range(model.depth)}
    if isinstance(model, TreeConvnet) and isinstance(spec.data, RandomHierarchy):
        channels = [spec.data.vocabulary] + [model.width] * spec.data.levels
        return {
            layer: model.width * (spec.data.branching * channels[layer - 1] + 1) for layer in layers(spec)
        }
    return {number: convolution.parameters for number, convolution in enumerate(convolutions(model), start=1)}


@dataclass(frozen=True, slots=True)
class Block:
    """Arithmetic of one block of a convolutional network; it leaves `channels` × `side`², or a vector where side is 0."""

    parameters: int
    flops: int
    activations: int
    channels: int
    side: int


def _convolution(
    fan: int, channels: int, kernel: int, side: int, times: int = 1, bridge: int = 0, pooled: bool = False
) -> Block:
    """So many convolutions on maps of one side, a 1×1 one of `bridge` weights beside them, then perhaps a pooling by 2."""
    weights = fan * channels * kernel**2 + (times - 1) * channels**2 * kernel**2 + bridge
    left = side // 2 if pooled else side
    return Block(
        weights + 2 * times * channels, 2 * weights * side**2, times * channels * side**2, channels, left
    )


def convolutions(model: Any) -> list[Block]:
    """Forward arithmetic of each block on one 32×32 picture (a multiply and an add are two FLOPs)."""
    if isinstance(model, Resnet | WideResnet):
        groups = (((model.depth - 2) // 6,) * 3) if isinstance(model, Resnet) else model.groups
        widths = tuple(model.width * 2**i for i in range(3)) if isinstance(model, Resnet) else model.widths
        stride, kernel = (1, 3) if isinstance(model, Resnet) else (model.stem_stride, model.stem_size)
        side, fan = 32 // stride, widths[0]
        found = [_convolution(3, fan, kernel, side)]
        for group, (count, width) in enumerate(zip(groups, widths, strict=True)):
            side = max(1, side // (2 if group else 1))
            for place in range(count):
                changes = isinstance(model, WideResnet) and (fan != width or (group > 0 and place == 0))
                bridge = fan * width if changes else 0
                found.append(_convolution(fan, width, 3, side, times=2, bridge=bridge))
                fan = width
        return found
    if isinstance(model, Vgg):
        plan = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[
            model.depth
        ]
        found, fan = [], 3
        for group, count in enumerate(plan):
            width = model.width * min(8, 2**group)
            for place in range(count):
                found.append(_convolution(fan, width, 3, 32 >> group, pooled=place == count - 1))
                fan = width
        return found
    if isinstance(model, Densenet):
        found, fan = [_convolution(3, 2 * model.growth, 3, 32)], 2 * model.growth
        for group, count in enumerate(model.groups):
            side = 32 >> group
            for place in range(count):
                before = Block(0, 0, 0, fan, side)
                if group and place == 0:
                    before, fan = _convolution(fan, fan // 2, 1, 2 * side), fan // 2
                one = _convolution(fan, model.growth, 3, side)
                fan += model.growth
                parameters, flops = before.parameters + one.parameters, before.flops + one.flops
                found.append(Block(parameters, flops, before.activations + one.activations, fan, side))
        return found
    assert isinstance(model, Alexnet)
    w = model.width
    dense = [Block(i * o + o, 2 * i * o, o, o, 0) for i, o in ((64 * w, 16 * w), (16 * w, 16 * w))]
    return [
        _convolution(3, w, 5, 32, pooled=True),
        _convolution(w, 3 * w, 5, 16, pooled=True),
        _convolution(3 * w, 6 * w, 3, 8),
        _convolution(6 * w, 4 * w, 3, 8),
        _convolution(4 * w, 4 * w, 3, 8, pooled=True),
        *dense,
    ]


def head_flops(block: Block, kind: str, outputs: int) -> int:
    """Forward arithmetic of a head on what `block` leaves: two 3×3 convolutions (or dense maps) if convolutional."""
    body = 2 * (9 * block.side**2 if block.side else 1) * block.channels**2 if kind == "convolutional" else 0
    return 2 * (body + block.channels * outputs)


def _train(spec: TrainSpec) -> Estimate:
    weights, dim = layer_parameters(spec), input_dim(spec.data)
    item = 8 if spec.dtype == "float64" else 4
    pictures = not isinstance(spec.data, SYNTHETIC)
    convolutional = pictures and not isinstance(spec.model, Mlp | QuadraticDensenet)
    costs = dict(enumerate(convolutions(spec.model), start=1)) if convolutional else {}
    if convolutional:
        products = {layer: block.flops for layer, block in costs.items()}
    else:
        products = {layer: 2 * weights[layer] * times for layer, times in _places(spec).items()}
    # Of other data sets the classes are not known until they are read.
    outputs, adversarial = 100 if spec.data.kind == "cifar100" else 10, bool(spec.adversarial_radius)
    flops = 0
    steps = 0
    for stage in stages(spec):
        sample = sum(stage.passes(layer, adversarial) * products[layer] for layer in stage.present)
        if convolutional:
            sample += 3 * sum(head_flops(costs[block], kind, outputs) for block, kind in heads(spec, stage))
        flops += stage.steps * stage.batch * sample
        steps += stage.steps
    parameters = sum(weights.values())
    samples = getattr(spec.data, "samples", None)
    count = PICTURES if samples is None else spec.budget.batch if samples == "fresh" else int(samples)
    tests = int(getattr(spec.data, "test_samples", None) or PICTURES // 6)
    activations = (
        sum(costs[layer].activations for layer in costs) if convolutional else dim * 2 + sum(_wide(spec))
    )
    weight_bytes = item * parameters * (6 if convolutional else WEIGHT_COPIES)
    parts = {"/spec/budget/batch": 3 * item * spec.budget.batch * activations}
    if pictures:
        parts |= {"/spec/data/samples": count * dim, "/spec/data/test_samples": tests * dim}
        parts[_width(spec)] = weight_bytes + 2**26
        needed = sum(parts.values())
    else:
        drawn = {"/spec/data/test_samples": tests * dim * DRAWN_BYTES}
        if samples != "fresh":
            drawn["/spec/data/samples"] = count * dim * DRAWN_BYTES
        parts[_width(spec)] = weight_bytes + item * EVALUATED * sum(_wide(spec))
        parts |= _largest_probe(spec, dim)
        statistics = STATISTICS * dim * STATISTICS_BYTES if isinstance(spec.data, Hierarchical) else 0
        # The teacher's inputs are gone before the training's are drawn.
        needed = sum(parts.values()) + max(sum(drawn.values()), statistics)
        parts |= drawn | {"/spec/data/input_dim": statistics}
    memory = PROCESS_BYTES + needed
    largest = max(parts, key=lambda pointer: parts[pointer])
    kept = _snapshot_bytes(spec, parameters, steps, item)
    speed = CONVOLUTION_FLOPS_PER_SECOND if convolutional else FLOPS_PER_SECOND
    stepping = steps * STEP_SECONDS
    seconds, shared = round(flops / speed + stepping, 3), 0.0 if convolutional else round(stepping, 3)
    return Estimate(parameters, flops, kept, memory, memory - PROCESS_BYTES, seconds, largest, shared)


def _width(spec: TrainSpec) -> str:
    """Pointer to the field that says how wide the network is."""
    fields = type(spec.model).model_fields
    return "/spec/model/" + next(name for name in ("width", "widths", "growth") if name in fields)


def _tangent(one: TangentKernelRidge, dim: int) -> tuple[int, int]:
    """Weights of a network in the tangent-kernel parametrisation, and the arithmetic of one entry of its kernel."""
    if one.network == "mlp":
        weights = dim * one.width + one.width**2 * (one.depth - 1) + one.width
        return weights, 2 * (dim + 2 * one.width * one.depth)
    expanded = one.width * (one.width + 1) // 2
    weights = sum(one.width * (dim + level * expanded) + expanded for level in range(one.depth))
    return weights, 2 * (dim + expanded * one.depth + one.width * one.depth * (one.depth + 1) // 2)


def _largest_probe(spec: TrainSpec, dim: int) -> dict[str, int]:
    """What the probe on most inputs holds of them, by its pointer; nothing without probes."""
    inputs = {
        f"/spec/probes/{i}/inputs": int(getattr(probe, "inputs", 0)) for i, probe in enumerate(spec.probes)
    }
    most = max(inputs, key=lambda pointer: inputs[pointer], default="")
    return {most: inputs[most] * dim * DRAWN_BYTES} if inputs else {}


def _wide(spec: TrainSpec) -> list[int]:
    """Activations a sample at each layer of a dense network."""
    model = spec.model
    if isinstance(model, QuadraticDensenet):
        expanded = model.width * (model.width + 1) // 2 if model.expansion == "random" else model.width
        return [model.width + expanded for _ in layers(spec)]
    if isinstance(model, Mlp):
        return [model.width] * model.depth
    if isinstance(model, TreeConvnet):
        return [model.width * places for places in _places(spec).values()]
    return [0]


def _places(spec: TrainSpec) -> dict[int, int]:
    """How often each layer's weights act on one sample of a synthetic target."""
    if isinstance(spec.model, TreeConvnet) and isinstance(spec.data, RandomHierarchy):
        return {layer: spec.data.branching ** (spec.data.levels - layer) for layer in layers(spec)}
    return dict.fromkeys(layers(spec), 1)


def _snapshot_bytes(spec: TrainSpec, parameters: int, steps: int, item: int) -> int:
    ends = len(stages(spec)) + 1
    kept = 0
    if spec.snapshots.weights is not None:
        kept += (steps // spec.snapshots.weights.every + ends) * parameters * item
    if spec.snapshots.features is not None:
        width = getattr(spec.model, "width", None) or 64
        each = spec.snapshots.features.inputs * int(width) * len(layers(spec)) * item
        kept += (steps // spec.snapshots.features.every + ends) * each
    return kept + 3 * parameters * item


def _baseline(spec: BaselineSpec) -> Estimate:
    one, dim = spec.baseline, input_dim(spec.data) * (2 if spec.inputs_as == "x_and_h1" else 1)
    samples = getattr(spec.data, "samples", None)
    n = PICTURES if samples is None else 4000 if samples == "fresh" else int(samples)
    tests = int(getattr(spec.data, "test_samples", None) or PICTURES // 6)
    data_bytes = 8 * (n + tests) * dim
    pointer, square, flops, parameters, started = "/spec/data/samples", 0, 0, 0, 0.1
    if isinstance(one, KernelRidge | TangentKernelRidge | RecursiveFeatureMachine):
        square = 8 * n * n + 8 * 512 * max(n, tests)
        kernels, recursions = len(getattr(one, "bandwidths", (1,))), getattr(one, "iterations", -1) + 1
        # Each is reduced on a few samples. On the fitting part one bandwidth, or some four beside it, are factored, each of
        # the recursions, and on all samples the best.
        screened = 4 * min(n, SCREEN_SAMPLES) ** 3 * kernels * (1 + recursions)
        factored = (5 if kernels > 1 else 2) + recursions
        entry = 2 * dim + KERNEL_FLOPS
        flops = screened + factored * (n**3 // 5 + entry * n * n // 2) + entry * n * tests
        started = DRAWN_SECONDS
        if isinstance(one, TangentKernelRidge):
            parameters, entry = _tangent(one, dim)
            flops = screened + 2 * n**3 // 5 + entry * n * n // 2 + 6 * parameters * (n + tests)
    elif isinstance(one, RandomFeatures):
        # Solved in its dual form: the features, and one kernel matrix of the samples.
        square = 8 * (n * n + (n + 1024) * one.features)
        parameters = one.features
        pointer = "/spec/baseline/features" if one.features > n else "/spec/data/samples"
        few = (dim + 1) * (dim + 2) // 2
        squares = one.activation == "quadratic" and 8 * few <= one.features
        # Many squares of few inputs are as few numbers as their products.
        flops = (
            4 * few**2 * (n + tests + one.features)
            if squares
            else (n + tests) * one.features * (2 * dim + 40)
        )
        flops += n * n * (few if squares else one.features) + 2 * n**3 // 5
        started = DRAWN_SECONDS
    elif isinstance(one, TwoLayerNetwork | MlpBaseline):
        depth = getattr(one, "depth", 1)
        parameters = dim * one.width + (depth - 1) * one.width**2 + one.width
        steps, batch = fit_length(one, n - n // 5)
        flops = (len(one.rates) + 1) * steps * batch * 6 * parameters
        started += 3 * steps * STEP_SECONDS  # the rates together, one beyond them, and the last fit
        square, pointer = 24 * batch * one.width * depth + 32 * parameters, "/spec/baseline/width"
    if data_bytes > square:
        pointer = "/spec/data/samples" if n >= tests else "/spec/data/test_samples"
    memory = PROCESS_BYTES + data_bytes + square
    return Estimate(
        parameters,
        flops,
        0,
        memory,
        memory - PROCESS_BYTES,
        round(flops / SOLVER_FLOPS_PER_SECOND + started, 3),
        pointer,
    )
