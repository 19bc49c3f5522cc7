"""A network in training: its blocks, heads, optimiser and averaged weights; one step, and its scores.

Shapes: x (n, c, h, w) or (n, d); scores (n, classes), or (n, 1) for real targets.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from bfc_core import specs
from bfc_core.specs import TrainSpec
from bfc_core.specs.resolution import HeadKind
from bfc_core.streams import stream
from bfc_core.training.rates import rate_factor

from . import networks
from .adversary import perturbed
from .data import Data
from .optimizers import Optimizer, clip
from .precision import Precision
from .recipes import RECIPES
from .stage import Plan
from .taps import BATCH, Taps

_LOOKAHEAD_EVERY = 5
_PROJECT_EVERY = 20


class Trainee:
    """Blocks and heads on one device, and what the stage under way keeps beside them."""

    def __init__(self, spec: TrainSpec, data: Data, dtype: torch.dtype, precision: Precision) -> None:
        self.spec = spec
        self.data = data
        self.dtype = dtype
        self.precision = precision
        self.recipe = RECIPES[spec.recipe]
        self.device = data.train.inputs.device
        self.init_seed = specs.seeds(spec.seed).init
        self.network = networks.build(spec.model, data.shape)
        count = len(self.network.blocks)
        plain = self.recipe.dirac and not self.network.ends_in_sum
        networks.initialise_blocks(self.network, range(1, count + 1), self.init_seed, dirac=plain)
        self._place(self.network)
        self.initial = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.heads: dict[str, nn.Module] = {}
        self.before: dict[str, Tensor] = {}
        self.average: dict[str, Tensor] = {}
        self.optimizer: Optimizer | None = None
        self.flops = [
            networks.forward_flops(block, shape)
            for block, shape in zip(
                networks.build(spec.model, data.shape).blocks,
                (data.shape, *self.network.shapes[:-1]),
                strict=True,
            )
        ]

    def _place(self, module: nn.Module) -> None:
        module.to(device=self.device, dtype=self.dtype)
        if self.data.pictures:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # ---- stages

    def enter(self, plan: Plan) -> None:
        """Begin a stage: redraw what it redraws, give it its heads, freeze the rest, start a fresh optimiser."""
        again = plan.index + 1
        redrawn = plan.stage.reinitialise
        networks.initialise_blocks(self.network, redrawn, self.init_seed, again)
        self.prepare(plan)
        self.before = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.average = {}
        if self.recipe.lookahead:
            self.average = {name: value.detach().clone() for name, value in self.trained().items()}

    def prepare(self, plan: Plan) -> None:
        """Give a stage its heads (those of the stage before where they fit), modes and optimiser."""
        heads = {}
        for block, kind in plan.heads:
            name = f"{block}.{kind}"
            heads[name] = self.heads[name] if name in self.heads else self._fresh_head(block, kind)
        self.heads = heads
        for number, module in enumerate(self.network.blocks, 1):
            module.requires_grad_(number in plan.stage.train)
        self._modes(plan)
        self.optimizer = self._new_optimizer(plan)

    def _fresh_head(self, block: int, kind: HeadKind) -> nn.Module:
        head = self.network.head(block, self.data.outputs, kind)
        networks.initialise(head, stream("init", self.init_seed, "head", block, kind))
        self._place(head)
        return head

    def _modes(self, plan: Plan) -> None:
        """Training mode for what trains; evaluation mode, with fixed statistics, for what is frozen."""
        for number, block in enumerate(self.network.blocks, 1):
            block.train(number in plan.stage.train)
        for head in self.heads.values():
            head.train()

    def trained(self) -> dict[str, nn.Parameter]:
        """Parameters that train now, by name."""
        named = {f"network.{k}": p for k, p in self.network.named_parameters() if p.requires_grad}
        for name, head in self.heads.items():
            named |= {f"heads.{name}.{k}": p for k, p in head.named_parameters()}
        return named

    def _new_optimizer(self, plan: Plan) -> Optimizer:
        parameters = self.trained()
        spared = () if self.recipe.decay_all else [name for name, p in parameters.items() if p.ndim <= 1]
        return Optimizer(plan.stage.optimizer, parameters, spared)

    # ---- one step

    def step(self, plan: Plan, number: int, inputs: Tensor, labels: Tensor) -> Tensor:
        """One optimiser step on inputs as `inputs_of` or the cache gave them; the loss, not waited for."""
        assert self.optimizer is not None
        spec = plan.stage.optimizer
        rate = spec.rate * rate_factor(spec, number, plan.stage.steps)
        if self.spec.adversarial_radius:
            inputs = perturbed(inputs, lambda x: self.loss(plan, x, labels), self._radius())
        loss = self.loss(plan, inputs, labels)
        self.optimizer.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        self._hold(plan)
        if spec.clip is not None:
            clip(self.optimizer.parameters.values(), spec.clip)
        self.optimizer.step(rate)
        projects = (number + 1) % _PROJECT_EVERY == 0 or number + 1 == plan.stage.steps
        if projects and plan.stage.hold is not None and plan.stage.hold.rank is not None:
            self._project(plan.stage.hold.layers, plan.stage.hold.rank)
        if self.average:
            self._look_ahead(number, plan.stage.steps)
        return loss.detach()

    def _radius(self) -> Tensor:
        """The adversary's radius in normalised units by channel, (1, c, 1, 1) or (1, d)."""
        pixel = 255.0 if self.data.pictures else 1.0
        scale = self.data.scale.to(self.dtype) * pixel * self.spec.adversarial_radius
        return scale[None, :, None, None] if self.data.pictures else scale[None]

    def loss(self, plan: Plan, inputs: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch; the sum of each head's own when `local`."""
        with self.autocast():
            heads = self._head_scores(plan, inputs)
            if plan.stage.backward == "local":
                losses = [self._criterion(scores, labels) for scores in heads]
                return torch.stack(losses).sum()
            return self._criterion(torch.stack(heads).sum(0) if len(heads) > 1 else heads[0], labels)

    def _criterion(self, scores: Tensor, labels: Tensor) -> Tensor:
        wide = scores.to(self.dtype)
        if not self.data.classes:
            return functional.mse_loss(wide[:, 0], labels.to(self.dtype))
        return functional.cross_entropy(wide, labels, label_smoothing=self.recipe.smoothing)

    def _head_scores(self, plan: Plan, inputs: Tensor) -> list[Tensor]:
        """Scores of each head; features between blocks stop the gradient unless `full`."""
        if plan.stage.backward == "full":
            block, kind = plan.heads[0]
            features = self.network(inputs, plan.prefix + 1, plan.last)
            return [self.heads[f"{block}.{kind}"](features)]
        found, x = [], inputs
        for block, kind in plan.heads:
            x = self.network(x.detach(), block, block)
            found.append(self.heads[f"{block}.{kind}"](x))
        return found

    def _hold(self, plan: Plan) -> None:
        """Add the gradient of μ|W − W_before|² on the held blocks."""
        hold = plan.stage.hold
        if hold is None or hold.penalty is None:
            return
        for name, parameter in self._held(hold.layers):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - self.before[name], alpha=2 * hold.penalty)

    def _held(self, layers: tuple[int, ...]) -> Iterator[tuple[str, nn.Parameter]]:
        owners = {f"blocks.{layer - 1}." for layer in layers}
        for name, parameter in self.network.named_parameters():
            if name.startswith(tuple(owners)) and parameter.requires_grad:
                yield name, parameter

    @torch.no_grad()
    def _project(self, layers: tuple[int, ...], rank: int) -> None:
        """Bring the change of each held weight, as a matrix (out, rest), to the nearest one of `rank`."""
        for name, parameter in self._held(layers):
            if parameter.ndim < 2:
                continue
            change = (parameter - self.before[name]).flatten(1)
            if min(change.shape) > rank:
                u, s, v = torch.linalg.svd(change, full_matrices=False)
                change = (u[:, :rank] * s[:rank]) @ v[:rank]
                parameter.copy_(self.before[name] + change.view(parameter.shape))

    @torch.no_grad()
    def _look_ahead(self, number: int, steps: int) -> None:
        """Pull weights to their running average, ever slower, and end on it."""
        if (number + 1) % _LOOKAHEAD_EVERY and number + 1 < steps:
            return
        last = number + 1 >= steps
        keep = 1.0 if last else 0.95**_LOOKAHEAD_EVERY * ((number + 1) / steps) ** 3
        assert self.optimizer is not None
        for name, parameter in self.optimizer.parameters.items():
            average = self.average[name]
            average.lerp_(parameter, 1 - keep)
            parameter.copy_(average)

    def fastest_block(self, plan: Plan) -> int:
        """The training block whose weights grew most since the stage began; what is not finite grew most."""
        growth = {}
        for number in plan.stage.train or (plan.last,):
            own = [
                (value, self.before[name])
                for name, value in self.network.state_dict().items()
                if name.startswith(f"blocks.{number - 1}.") and value.is_floating_point()
            ]
            ratios = [float(now.double().norm() / old.double().norm().clamp_min(1e-6)) for now, old in own]
            growth[number] = max(math.inf if math.isnan(ratio) else ratio for ratio in ratios)
        return max(growth, key=lambda number: growth[number])

    # ---- reading

    def inputs_of(self, stored: Tensor) -> Tensor:
        """Stored inputs as the first block reads them."""
        x = self.data.normalised(stored)
        return x.to(self.dtype)

    @torch.no_grad()
    def prefix(self, plan: Plan, inputs: Tensor) -> Tensor:
        """What the first block that trains reads, from network inputs; frozen blocks are in evaluation mode."""
        if not plan.prefix:
            return inputs
        with self.autocast():
            return self.network(inputs, 1, plan.prefix)  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[None]:
        """Everything in evaluation mode, then back to the modes it had."""
        modules = [*self.network.blocks, *self.heads.values()]
        modes = [module.training for module in modules]
        for module in modules:
            module.eval()
        try:
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.train(mode)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Evaluation mode, without gradients, in the run's precision."""
        with self.evaluation(), torch.no_grad(), self.autocast():
            yield

    def scores(self, plan: Plan, stored: Tensor, taps: Taps | None = None) -> Tensor:
        """The network's scores (n, outputs) on stored inputs (n, …), in evaluation mode; `taps` listen in."""
        found = []
        with self.reading():
            for number, rows in enumerate(torch.split(stored, BATCH)):
                x = self.inputs_of(rows)
                scores = self._read(plan, x, taps, number * BATCH)
                if self.recipe.mirror and self.data.pictures:
                    scores = (scores + self._read(plan, x.flip(3))) / 2
                found.append(scores)
        return torch.cat(found)

    def _read(self, plan: Plan, x: Tensor, taps: Taps | None = None, start: int = 0) -> Tensor:
        wanted = {block: f"{block}.{kind}" for block, kind in plan.read}
        total: Tensor | None = None
        for block in range(1, max(plan.last, taps.last if taps and start < taps.count else 0) + 1):
            x = self.network(x, block, block)
            if taps is not None:
                taps.take(block, x, start)
            if block in wanted:
                scores = self.heads[wanted[block]](x).to(self.dtype)
                total = scores if total is None else total + scores
        assert total is not None
        return total

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    # ---- state

    def tensors(self) -> dict[str, Tensor]:
        """Everything a later attempt needs, by name; views, not copies."""
        found = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, head in self.heads.items():
            found |= {f"heads.{name}.{k}": v for k, v in head.state_dict().items()}
        found |= {f"before.{k}": v for k, v in self.before.items()}
        found |= {f"average.{k}": v for k, v in self.average.items()}
        if self.optimizer is not None:
            found |= {f"optimizer.{k}": v for k, v in self.optimizer.buffers.items()}
        return found

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights and heads; a block that is missing or of another shape keeps its own."""
        own = self.network.state_dict()
        for name, value in own.items():
            given = tensors.get(f"network.{name}")
            if given is not None and given.shape == value.shape:
                value.copy_(given)
        for name in sorted({".".join(key.split(".")[1:3]) for key in tensors if key.startswith("heads.")}):
            block, kind = name.split(".")
            head = self._fresh_head(int(block), kind)  # type: ignore[arg-type]
            drawn = head.state_dict()
            kept = {key: tensors[f"heads.{name}.{key}"] for key in drawn if f"heads.{name}.{key}" in tensors}
            if {k: v.shape for k, v in kept.items()} == {k: v.shape for k, v in drawn.items()}:
                head.load_state_dict(kept)
                self.heads[name] = head

    def resume(self, plan: Plan, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Take over a stage after `steps` of its steps, to go on with the same bits; call after `adopt`."""
        self.prepare(plan)
        assert self.optimizer is not None
        self.restore_before(tensors)
        buffers = {k[10:]: v for k, v in tensors.items() if k.startswith("optimizer.")}
        self.optimizer.restore(buffers, steps)
        averages = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
        trained = self.optimizer.parameters
        self.average = {k: torch.empty_like(trained[k].detach()).copy_(v) for k, v in averages.items()}

    def restore_before(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the weights at the start of the last stage begun, where they were kept."""
        own = self.network.state_dict()
        kept = {k.removeprefix("before."): v for k, v in tensors.items() if k.startswith("before.")}
        self.before = {name: torch.empty_like(own[name]).copy_(value) for name, value in kept.items()}

    def step_flops(self, plan: Plan) -> int:
        """Floating-point operations of one sample in one step of the stage: frozen prefix once, what lets
        gradients through twice, what trains three times. Caching is not credited, so arms stay comparable."""
        adversarial = bool(self.spec.adversarial_radius)
        total = sum(
            plan.stage.passes(block, adversarial) * self.flops[block - 1] for block in plan.stage.present
        )
        for block, kind in plan.heads:
            head = self.network.head(block, self.data.outputs, kind)
            total += 3 * networks.forward_flops(head, self.network.shapes[block - 1])
        return total
