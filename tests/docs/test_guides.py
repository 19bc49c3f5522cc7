"""The guides are followed word for word on a copy of the science: what they add is there, runs, and passes its law.

`make test-docs` follows all of them, `make test` the one for a probe.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r'^```python title="(?P<file>[^"]+)"\n(?P<code>.*?)^```', re.M | re.S)
LAST_JSON = re.compile(r"^```json\n(.*?)^```", re.M | re.S)
#: Where a guide says that its block goes, and which names it adds to which lists: (file, text) → before, or (old, new).
PLACES = {
    "bfc_core/specs/probe.py": "ProbeKind = Annotated[",
    "bfc_core/specs/data.py": "DataSpec = Annotated[",
    "bfc_core/specs/model.py": "ModelSpec = Annotated[",
    "bfc_core/specs/costs.py": "    if isinstance(model, Resnet | WideResnet):",
    "bfc_core/images/networks.py": '_VGG = {',
}  # fmt: skip
LISTS = {
    "add-a-probe": [
        (
            "bfc_core/specs/probe.py",
            "    FeatureError | Captured",
            "    DeadNeurons | FeatureError | Captured",
        )
    ],
    "add-a-target": [
        (
            "bfc_core/specs/data.py",
            "    Hierarchical | Staircase",
            "    Threshold | Hierarchical | Staircase",
        ),
        ("bfc_core/specs/data.py", "SYNTHETIC = (", "SYNTHETIC = (Threshold, "),
    ],
    "add-a-network": [
        ("bfc_core/specs/model.py", "    QuadraticDensenet | Mlp |", "    Plain | QuadraticDensenet | Mlp |"),
        ("bfc_core/specs/model.py", "CONVOLUTIONAL = (", "CONVOLUTIONAL = (Plain, "),
        ("bfc_core/specs/costs.py", "    Alexnet,\n", "    Plain,\n    Alexnet,\n"),
    ],
}
RUN = """
import json, sys
import numpy as np
import bfc_core
from bfc_core import specs
from bfc_core.images.datasets import Arrays
from bfc_core.records import Metric, Result

class Pictures:
    def dataset(self, dataset_id):
        rng = np.random.default_rng(0)
        x, y = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8), np.arange(60) % 10
        return Arrays(x, y, tuple("0123456789"), x[:20], y[:20])

job = specs.parse_job(json.loads(sys.argv[1]))
records = list(bfc_core.run(job.spec, inputs=Pictures()))
assert isinstance(records[-1], Result), records[-1]
print(json.dumps({"keys": sorted({r.key for r in records if isinstance(r, Metric)}), "flops": specs.estimate(job.spec).flops,
                  "units": sorted({str(r.unit) for r in records if isinstance(r, Metric)})}))
"""


def followed(guide: str, folder: Path) -> str:
    """A copy of the science with the guide's blocks where it says; the spec that the guide ends with."""
    shutil.copytree(ROOT / "bfc_core", folder / "bfc_core", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "docs" / "guides" / f"{guide}.md").read_text(encoding="utf-8")
    for name, code in BLOCK.findall(text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            before, place, after = path.read_text(encoding="utf-8").partition(PLACES[name])
            assert place, f"{name} has no {PLACES[name]!r} any more"
            code = f"{before}{code}\n\n{place}{after}"
        path.write_text(code, encoding="utf-8")
    for name, old, new in LISTS[guide]:
        path = folder / name
        source = path.read_text(encoding="utf-8")
        assert old in source, f"{name} has no {old!r} any more"
        path.write_text(source.replace(old, new, 1), encoding="utf-8")
    return LAST_JSON.findall(text)[-1]


@pytest.mark.slow
@pytest.mark.parametrize("guide", LISTS if os.environ.get("BFC_TEST_DOCS") == "all" else ["add-a-probe"])
def test_a_guide_followed_to_its_end_gives_what_it_promises(guide: str, tmp_path: Path) -> None:
    spec = followed(guide, tmp_path)
    here = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run([sys.executable, "-c", RUN, spec], **here)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["flops"] > 0
    assert "None" not in told["units"], told
    if guide == "add-a-probe":
        assert "dead_neurons" in told["keys"]
    laws = list(tmp_path.rglob("test_*.py"))
    if laws:
        law = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            str(tmp_path),
            *map(str, laws),
        ]
        done = subprocess.run(law, **here)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stdout


def test_a_probe_is_two_files() -> None:
    text = (ROOT / "docs" / "guides" / "add-a-probe.md").read_text(encoding="utf-8")
    assert len({name for name, _ in BLOCK.findall(text) if name.startswith("bfc_core/")}) == 2
    assert {name for name, _, _ in LISTS["add-a-probe"]} == {"bfc_core/specs/probe.py"}
