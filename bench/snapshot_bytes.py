"""What the snapshots of a layerwise study of pictures take in the store, against the same tensors unshared and raw.

Arms joint, layerwise and layerwise_then_joint of one seed run with weight and feature snapshots at every stage end, on
made pictures (or those given). Equal tensors, such as those of a frozen layer, are counted once, as the store keeps them.

    python -m bench.snapshot_bytes [ARCHIVE_OR_NPZ] [--steps 30] [--samples 1000]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from bench.images_speed import Given, made, read, spec_of
from bench.machine import heading
from bfc_core.images.engine import train
from bfc_core.records import Snapshot
from store.tensors import pack

NEEDED = 1 / 3
ARMS = ("joint", "layerwise", "layerwise_then_joint")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="class folders, a CIFAR binary or .npz; made when left out")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    arrays = made(given.samples, tests=600) if given.data is None else read(given.data)
    raw, stored, kept, snapshots = 0, 0, set(), 0
    for arm in ARMS:
        spec = spec_of(given.samples, given.steps, schedule={"kind": arm}, probes=[])
        spec = spec.model_copy(update={"data": spec.data.model_copy(update={"test_samples": 600})})
        for record in train(spec, inputs=Given(arrays)):
            if isinstance(record, Snapshot):
                snapshots += 1
                for tensor in record.tensors.values():
                    packed = pack(tensor)
                    raw += packed.size
                    stored += 0 if packed.hash in kept else packed.stored_bytes
                    kept.add(packed.hash)
    print(heading())
    print(
        f"{snapshots} snapshots of {', '.join(ARMS)}: {raw / 1e6:.1f} MB unshared and raw, {stored / 1e6:.1f} MB stored: "
        f"{stored / raw:.2f} (needed {NEEDED:.2f})"
    )
    raise SystemExit(0 if stored <= NEEDED * raw else 1)


if __name__ == "__main__":
    main()
