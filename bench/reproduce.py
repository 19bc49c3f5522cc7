"""The figures that the science was planned with, measured again on other seeds: theirs and ours side by side.

Every row of the table of figures is a row here, with both read-outs where it has them. The rows are run in this process,
packed as a worker would pack them. Of each quantity the median of the seeds is printed with its least and largest value, and
whether theirs lies between them.

    python -m bench.reproduce [ROW …] [--seeds 9] [--first 100]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bench.machine import heading
from bfc_core import local, specs
from bfc_core.local import Heard
from bfc_core.records import Record, Result, Snapshot
from bfc_core.specs import BaselineSpec, TrainSpec
from bfc_core.specs.baseline import LEARNERS
from bfc_core.studies.member import Member, packed

Body = dict[str, Any]

QUICK: Body = {"data": {}, "model": {"width": 8}, "budget": {"steps": 2000, "batch": 128}}
STANDARD: Body = {
    "data": {"input_dim": 30, "width": 6, "samples": 10_000},
    "model": {"width": 12},
    "budget": {"steps": 4000, "batch": 256},
}
DEEP: Body = {
    "data": {"levels": 4, "gap": [1, -0.7, 0.49], "samples": "fresh"},
    "model": {"width": 10},
    "budget": {"steps": 6000, "batch": 256},
}
POSITIVE: Body = {**STANDARD, "data": {**STANDARD["data"], "gap": [1, 0.5], "samples": "fresh"}}
WINDOWS: Body = {**DEEP, "budget": {"steps": 2500, "batch": 128}}
CHAIN: Body = {**STANDARD, "data": {**STANDARD["data"], "topology": "chain", "samples": "fresh"}}
JOINT, LAYERWISE, CORRECTED = "joint", "layerwise", "layerwise_then_joint"
FEATURES: Body = {"kind": "feature_error"}
SCRATCH_DETACHED: Body = {"kind": "stages", "stages": [{"backward": "detached"}]}


@dataclass(frozen=True)
class Line:
    """One quantity: what the prototypes gave (a number, or a range of numbers), and ours by seed."""

    setting: str
    quantity: str
    theirs: float | tuple[float, float] | None
    ours: Sequence[float | None]

    def text(self) -> str:
        """As a row of the printed table."""
        found = sorted(math.inf if value is None else value for value in self.ours)
        middle, spread = statistics.median(found), f"{found[0]:.2g} … {found[-1]:.2g}"
        return f"| {self.setting} | {self.quantity} | {self._theirs()} | {middle:.2g} | {spread} | {self._verdict(found)} |"

    def _theirs(self) -> str:
        if self.theirs is None:
            return "–"
        return " … ".join(f"{one:.2g}" for one in self._range())

    def _range(self) -> tuple[float, ...]:
        return self.theirs if isinstance(self.theirs, tuple) else (self.theirs or 0.0,)

    def _verdict(self, found: Sequence[float]) -> str:
        """Theirs have two digits, so two digits are compared."""
        if self.theirs is None:
            return ""
        low, high = min(self._range()), max(self._range())
        least, largest = (float(f"{one:.2g}") for one in (found[0], found[-1]))
        if high < least:
            return "ours are larger"
        return "ours are smaller" if low > largest else "within"


@dataclass
class Bench:
    """The seeds, and how a row trains: all of its members at once, packed by shape."""

    seeds: range
    last_weights: dict[str, dict[int, Any]] = field(default_factory=dict)

    def train(self, bodies: Mapping[str, Body]) -> dict[str, list[Heard]]:
        """What the members of each setting said, one a seed."""
        members = [
            Member(f"{name}#{seed}", "train", name, TrainSpec.model_validate({**_quiet(body), "seed": seed}))
            for seed in self.seeds
            for name, body in bodies.items()
        ]
        heard = self.run(packed(members, [member.key.rpartition("#")[2] for member in members]))
        return {name: [heard[f"{name}#{seed}"] for seed in self.seeds] for name in bodies}

    def run(self, members: Sequence[Member]) -> dict[str, Heard]:
        return local.run_members(members, told=self._keep)

    def baselines(self, bodies: Mapping[str, Body]) -> dict[str, list[Heard]]:
        """The same for baselines."""
        members = [
            Member(f"{name}#{seed}", "baseline", name, BaselineSpec.model_validate({**body, "seed": seed}))
            for seed in self.seeds
            for name, body in bodies.items()
        ]
        heard = self.run(members)
        return {name: [heard[f"{name}#{seed}"] for seed in self.seeds] for name in bodies}

    def _keep(self, member: Member, record: Record) -> None:
        if isinstance(record, Snapshot) and record.meta["end_of_stage"]:
            weights = torch.from_numpy(record.tensors["W2"].numpy().copy())
            self.last_weights.setdefault(member.key, {})[record.meta["stage"]] = weights


def _quiet(body: Body) -> Body:
    return {"probes": [], "snapshots": {"weights": None, "features": None}, **body}


def changed(base: Body, **parts: Any) -> Body:
    """`base` with some of its parts, objects merged."""
    return {
        **base,
        **{
            name: {**base.get(name, {}), **part} if isinstance(part, dict) and name != "schedule" else part
            for name, part in parts.items()
        },
    }


def armed(base: Body, schedule: str | Body, readout: str = "fixed", **parts: Any) -> Body:
    """`base` trained by `schedule` with a read-out."""
    named = {"kind": schedule} if isinstance(schedule, str) else schedule
    return changed(changed(base, schedule=named, model={"readout": readout}), **parts)


def numbers(heard: Sequence[Heard], name: str = "relative_test_error") -> list[float | None]:
    """A number of each summary; None where a member failed."""
    return [one.end.summary.get(name) if isinstance(one.end, Result) else None for one in heard]


def series_end(heard: Sequence[Heard], key: str, layer: int) -> list[float | None]:
    """The last value of a series of each member."""
    return [one.series[key, layer][1][-1] if (key, layer) in one.series else None for one in heard]


def main_rows(
    bench: Bench, name: str, base: Body, theirs: Sequence[float], signed: Sequence[float | None]
) -> Iterator[Line]:
    """joint, layerwise and then joint, with the feature error of level 2 before and after."""
    for readout, values in (("fixed", theirs), ("signed", signed)):
        arms = {
            f"{name} {readout} {arm}": armed(base, arm, readout, probes=[FEATURES])
            for arm in (JOINT, LAYERWISE, CORRECTED)
        }
        found = list(bench.train(arms).values())
        for arm, heard, value in zip((JOINT, LAYERWISE, "then joint"), found, values, strict=False):
            yield Line(f"{name}, {readout}", f"rel {arm}", value, numbers(heard))
        for when, heard, value in zip(("layerwise", "corrected"), found[1:], values[3:], strict=True):
            yield Line(
                f"{name}, {readout}", f"feature error 2, {when}", value, numbers(heard, "feature_error_2")
            )


def quick(bench: Bench) -> Iterator[Line]:
    yield from main_rows(
        bench, "quick", QUICK, (2.8e-4, 0.22, 2.2e-4, 0.14, 1e-5), (7.9e-4, 0.19, None, None, None)
    )


def standard(bench: Bench) -> Iterator[Line]:
    yield from main_rows(bench, "standard", STANDARD, (2.1e-5, 0.22, 2.6e-5, 0.13, 1.5e-6), (None,) * 5)


def deep(bench: Bench) -> Iterator[Line]:
    yield from main_rows(bench, "deep", DEEP, (9.1e-4, 4.7e-2, 5.4e-4, 6e-3, 4e-5), (None,) * 5)


def positive(bench: Bench) -> Iterator[Line]:
    yield from main_rows(bench, "positive", POSITIVE, (1.8e-5, 8.3e-4, 2.4e-5, 5e-4, 2e-6), (None,) * 5)


def gradient_path(bench: Bench) -> Iterator[Line]:
    """Is the correction backward? Arms with and without the gradient through h_2."""
    arms: dict[str, tuple[str | Body, float]] = {
        "then joint": (CORRECTED, 2.3e-4),
        "gradient through h_2 blocked": ("detached", 0.17),
        "level 2 alone, level 3 frozen": ("upper_frozen", 0.14),
        "cyclic": ("cyclic", 4.3e-3),
        "from scratch, blocked": (SCRATCH_DETACHED, 0.16),
    }
    for readout in ("fixed", "signed"):
        found = bench.train({name: armed(QUICK, arm, readout) for name, (arm, _) in arms.items()})
        for name, (_, value) in arms.items():
            yield Line(
                f"quick, {readout}", f"rel {name}", value if readout == "fixed" else None, numbers(found[name])
            )


SIZES = ((16, 3), (17, 3), (22, 4), (24, 4))
BY_SIZE: dict[str, tuple[tuple[float, float], tuple[float, float] | None]] = {
    "joint": ((5e-5, 4e-4), (2e-6, 3e-5)),
    "layerwise": ((0.18, 0.26), (0.15, 0.17)),
    CORRECTED: ((1e-4, 3e-4), None),
    "detached": ((0.15, 0.17), (0.11, 0.14)),
    "longer": ((0.17, 0.25), (0.15, 0.17)),
}


def sizes(bench: Bench) -> Iterator[Line]:
    """The quick budget at other d and k; theirs are ranges of medians over the four sizes."""
    medians: dict[tuple[str, str], list[float | None]] = {}
    for dim, k in SIZES:
        base = changed(QUICK, data={"input_dim": dim, "width": k}, model={"width": 2 * k})
        found = bench.train({arm: armed(base, arm, probes=[FEATURES]) for arm in BY_SIZE})
        for arm, heard in found.items():
            for name in ("relative_test_error", "feature_error_2"):
                values = [math.inf if one is None else one for one in numbers(heard, name)]
                medians.setdefault((arm, name), []).append(statistics.median(values))
    for (arm, name), by_size in medians.items():
        theirs = BY_SIZE[arm][name == "feature_error_2"]
        yield Line("four sizes, fixed", f"{name} {arm}, medians", theirs, by_size)


def narrow(bench: Bench) -> Iterator[Line]:
    """What fails on a fixed set: m = k, and 300 samples."""
    bodies = {
        "m = k": armed(QUICK, JOINT, model={"width": 4}),
        "N = 300": armed(QUICK, JOINT, data={"samples": 300}),
    }
    found = bench.train(bodies)
    yield Line("quick, m = k", "rel joint", (0.061, 0.10), numbers(found["m = k"]))
    yield Line("quick, N = 300", "rel joint", 1.1, numbers(found["N = 300"]))


def weak(bench: Bench) -> Iterator[Line]:
    """The conditions under which weak directions are what is missing."""
    cells: dict[str, tuple[Body, float | None, float | None, float | None]] = {
        "r_min .5, gap -.7": ({}, None, 0.09, 0.45),
        "r_min 1, gap -.7": ({"weakest": 1.0}, 0.13, None, None),
        "r_min .5, gap +.5": ({"gap": [1, 0.5]}, None, None, None),
    }
    for place, readout in enumerate(("fixed", "signed")):
        bodies = {
            name: armed(QUICK, LAYERWISE, readout, data=data, probes=[{"kind": "captured"}])
            for name, (data, *_) in cells.items()
        }
        for name, heard in bench.train(bodies).items():
            _, rel, *weakest = cells[name]
            if rel is not None and readout == "signed":
                rel = 0.071
            by_direction = [series_end(heard, f"captured/{i}", 2) for i in range(4)]
            yield Line(f"{name}, {readout}", "rel layerwise", rel, numbers(heard))
            yield Line(f"{name}, {readout}", "captured before, weakest", weakest[place], by_direction[-1])
            least = [min(one for one in seed if one is not None) for seed in zip(*by_direction, strict=True)]
            bound = (0.96, 1.0) if "r_min 1" in name else (0.99, 1.0) if "+.5" in name else None
            yield Line(f"{name}, {readout}", "captured before, least direction", bound, least)


def windows(bench: Bench) -> Iterator[Line]:
    """How deep: the (l, k) table of four levels, windows that slide, and joint from scratch."""
    theirs = {(3, 0): 4.8e-2, (3, 1): 7.2e-3, (3, 2): 3.7e-3, (2, 0): 2.1e-2, (2, 1): 4.0e-3}
    sliding = {1: 6.2e-2, 2: 9.0e-3, 3: 2.9e-3}
    bodies = {
        f"l = {row}, k = {free}": armed(WINDOWS, {"kind": "window", "train_up_to": row, "free": free})
        for row, free in theirs
    }
    bodies |= {f"sliding {w}": armed(WINDOWS, {"kind": "sliding", "window": w}) for w in sliding}
    bodies["joint"] = armed(WINDOWS, JOINT)
    values = [*theirs.values(), *sliding.values(), 2.6e-3]
    for (name, heard), value in zip(bench.train(bodies).items(), values, strict=True):
        yield Line("L = 4, m = 10, fixed", f"rel {name}", value, numbers(heard))


def how_much(bench: Bench) -> Iterator[Line]:
    """Gram correlation of level 2 before and after its correction, and λ."""
    kept = {"weights": {"every": 10_000_000}, "features": None}
    probe = [{"kind": "weight_correlation"}]
    bodies = {
        "corrected": armed(QUICK, CORRECTED, probes=probe, snapshots=kept),
        "joint": armed(QUICK, JOINT, snapshots=kept),
        "positive": armed(QUICK, CORRECTED, probes=probe, data={"gap": [1, 0.5]}, snapshots=kept),
    }
    found = bench.train(bodies)
    before, joint = [], []
    for seed in bench.seeds:
        corrected = bench.last_weights[f"corrected#{seed}"]
        before.append(gram(corrected[1], corrected[3]))
        joint.append(gram(corrected[3], bench.last_weights[f"joint#{seed}"][1]))
    yield Line("quick, fixed", "Gram before / after", 0.89, before)
    yield Line("quick, fixed", "Gram corrected / joint", 0.998, joint)
    yield Line(
        "quick, fixed",
        "init / after, less chance",
        (0.02, 0.11),
        series_end(found["corrected"], "weight_correlation/init_after", 2),
    )
    yield Line("quick, fixed, gap -.7", "λ of level 2", 0.12, series_end(found["corrected"], "lambda", 2))
    yield Line("quick, fixed, gap +.5", "λ of level 2", 0.003, series_end(found["positive"], "lambda", 2))


def gram(a: torch.Tensor, b: torch.Tensor) -> float:
    """⟨AᵀA, BᵀB⟩/(|AᵀA||BᵀB|) of A, B (m, q)."""
    a, b = a.double(), b.double()
    return float((a @ b.mT).square().sum() / ((a @ a.mT).norm() * (b @ b.mT).norm()))


SHALLOW: dict[tuple[str, str], tuple[float, float]] = {
    ("kernel_ridge/rbf", "x"): (0.74, 0.92),
    ("kernel_ridge/rbf", "x_and_h1"): (0.39, 0.59),
    ("kernel_ridge/ntk", "x"): (0.76, 0.92),
    ("kernel_ridge/ntk", "x_and_h1"): (0.40, 0.57),
    ("random_features/relu", "x"): (0.86, 0.93),
    ("two_layer/relu", "x"): (0.87, 0.97),
    # A square of x alone holds nothing beyond degree 2: theirs is the best quadratic in [x, h_1], the effective gap.
    ("two_layer/quadratic", "x_and_h1"): (0.41, 0.54),
    ("mlp/relu", "x_and_h1"): (0.30, 0.50),
}


def shallow(bench: Bench) -> Iterator[Line]:
    """Other learners at the same 4,000 samples, at the quick and the standard target."""
    for place, (name, base) in enumerate((("quick", QUICK), ("standard", STANDARD))):
        bodies = {
            f"{learner} on {inputs}": {
                "data": {**base["data"], "samples": 4000},
                "baseline": specs.dump(LEARNERS[learner][1]),
                "inputs_as": inputs,
            }
            for learner, inputs in SHALLOW
        }
        found = bench.baselines(bodies)
        for (label, heard), theirs in zip(found.items(), SHALLOW.values(), strict=True):
            yield Line(f"{name}, N = 4,000", f"rel {label}", theirs[place], numbers(heard))


def samples(bench: Bench) -> Iterator[Line]:
    """How many samples joint training needs, beside RBF ridge on [x, h_1]; and how often fresh samples stick."""
    theirs = {500: (0.83, 0.79), 1000: (None, None), 2000: (3e-3, 0.52)}
    trained = bench.train({str(n): armed(QUICK, JOINT, data={"samples": n}) for n in theirs})
    ridge = bench.baselines(
        {
            str(n): {"data": {"samples": n}, "baseline": {"kind": "kernel_ridge"}, "inputs_as": "x_and_h1"}
            for n in theirs
        }
    )
    for n, (deep_error, kernel_error) in theirs.items():
        yield Line(f"quick, N = {n}", "rel joint", deep_error, numbers(trained[str(n)]))
        yield Line(f"quick, N = {n}", "rel RBF ridge on [x, h_1]", kernel_error, numbers(ridge[str(n)]))
    fresh = bench.train({"fresh": armed(QUICK, JOINT, data={"samples": "fresh"})})["fresh"]
    stuck = [float(bool(value)) for value in numbers(fresh, "stuck")]
    share = sum(stuck) / len(stuck)
    yield Line(f"quick, fresh samples, {len(stuck)} runs", "part of runs stuck", (1 / 8, 1 / 5), [share])


def failures(bench: Bench) -> Iterator[Line]:
    """What does not learn in this budget, or needs no depth; the verdicts of whole studies are in `verdicts`."""
    monomials: dict[str, Body] = {
        "staircase 5": {"kind": "staircase"},
        "parity 5": {"kind": "parity", "degree": 5},
        "staircase 8": {"kind": "staircase", "monomials": [list(range(i)) for i in range(1, 9)]},
        "parity 8": {"kind": "parity", "degree": 8},
    }
    network = {"kind": "mlp", "width": 128, "depth": 3, "activation": "relu"}
    bodies = {"chain": armed(CHAIN, JOINT)}
    fresh = {"steps": 4000, "batch": 256}
    for name, data in monomials.items():
        bodies[name] = {
            "data": {**data, "samples": "fresh"},
            "model": network,
            "budget": fresh,
            "optimizer": {"rate": 0.003},
        }
    found = bench.train(bodies)
    yield Line("chain, uniform inputs, standard, fresh samples", "rel joint", 0.12, numbers(found["chain"]))
    for name, theirs in (("staircase 5", None), ("parity 5", None), ("staircase 8", 1e-3), ("parity 8", 1.0)):
        yield Line("ReLU MLP, fresh samples", f"rel {name}", theirs, numbers(found[name]))


VERDICTS: dict[str, Body] = {
    "m = k": changed(QUICK, model={"width": 4}),
    "chain, uniform inputs, fresh samples": CHAIN,
    "N = 500": changed(QUICK, data={"samples": 500}),
    "staircase of degree 5": {
        "data": {"kind": "staircase"},
        "model": {"width": 8, "readout": "signed"},
        "budget": QUICK["budget"],
    },
}


def verdicts(bench: Bench) -> Iterator[Line]:
    """Whole correction studies where the claim must fail; 1 where the verdict is not_supported, 0 otherwise."""
    for name, base in VERDICTS.items():
        readouts = ["signed"] if base["data"].get("kind") == "staircase" else ["fixed", "signed"]
        body = {
            "kind": "correction",
            "base": {**base, "seed": bench.seeds.start},
            "seeds": len(bench.seeds),
            "readouts": readouts,
            "how_deep": False,
            "baselines": None,
            "schedules": [JOINT, LAYERWISE],
            "claims": [{"claim": "joint_beats_layerwise"}],
        }
        job = specs.parse_job({"kind": "study", "spec": body})
        for claim in local.run_study(job.spec).summary["claims"]:
            said = f"{claim['claim']}, {claim['readout']}: {claim['verdict']}"
            yield Line(name, said, 1.0, [float(claim["verdict"] == "not_supported")])


def random_hierarchy(bench: Bench) -> Iterator[Line]:
    """Test error (part of wrong classes) of the random hierarchy model: joint, layerwise, and a flat kernel.

    Theirs does not say network nor rate. Of the network that is told the tree two rates are shown; one that is not told
    it, fully connected, stands beside them.
    """
    theirs = {1024: (0.12, 0.25, 0.66), 4096: (0.0, 0.0, None)}
    networks = {
        "tree_convnet, rate .01": ({"kind": "tree_convnet"}, 0.01),
        "tree_convnet, rate .03": ({"kind": "tree_convnet"}, 0.03),
        "mlp 3 × 128, rate .003": ({"kind": "mlp", "width": 128, "depth": 3}, 0.003),
    }
    for n, (joint, layerwise, flat) in theirs.items():
        data = {"kind": "random_hierarchy", "samples": n}
        setting = f"v 8, m 4, s 2, L 3, P = {n:,}"
        for name, (model, rate) in networks.items():
            base = {"data": data, "model": model, "budget": {"steps": 2000, "batch": 128}}
            base["optimizer"] = {"rate": rate}
            bodies = {arm: changed(base, schedule={"kind": arm}) for arm in (JOINT, LAYERWISE)}
            for arm, heard in bench.train(bodies).items():
                value = joint if arm == JOINT else layerwise
                yield Line(setting, f"test error {arm}, {name}", value, _wrong(heard))
        kernel = {"data": data, "baseline": {"kind": "kernel_ridge"}}
        for heard in bench.baselines({"kernel": kernel}).values():
            yield Line(setting, "test error RBF ridge", flat, _wrong(heard))


def _wrong(heard: list[Heard]) -> list[float | None]:
    """The part of wrong classes of each seed."""
    return [None if one is None else 1 - one for one in numbers(heard, "test_accuracy")]


ROWS: dict[str, Callable[[Bench], Iterator[Line]]] = {
    one.__name__: one
    for one in (
        quick, standard, deep, positive, gradient_path, sizes, narrow, weak, windows, how_much, shallow, samples,
        failures, verdicts, random_hierarchy,
    )
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; all when left out")
    parser.add_argument("--seeds", type=int, default=9)
    parser.add_argument("--first", type=int, default=100, help="the first of consecutive seeds")
    given = parser.parse_args()
    unknown = [row for row in given.rows if row not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    torch.set_num_threads(1)
    print(heading())
    for row in given.rows or ROWS:
        bench = Bench(range(given.first, given.first + given.seeds))
        started = time.process_time()
        print(f"\n### {row}, {given.seeds} seeds from {given.first}\n", flush=True)
        print("| setting | quantity | theirs | ours, median | ours, least … largest | theirs among ours |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for line in ROWS[row](bench):
            print(line.text(), flush=True)
        print(f"\n{time.process_time() - started:.1f} CPU-seconds", flush=True)


if __name__ == "__main__":
    main()
