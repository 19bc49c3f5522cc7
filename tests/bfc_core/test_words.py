"""A word of the language without its deed is told here by name."""

import subprocess
import sys

CODE = """
import bfc_core.run, bfc_core.studies, bfc_core.figures
from bfc_core import registry, specs
from bfc_core.specs.scalars import Spec
missing = [f"{part} {kind}: nothing is registered on {word.__name__}; write a function and decorate it with "
           f"bfc_core.registry.deed({word.__name__})"
           for part, kind, word in specs.words()
           if part in ("data", "model", "probe", "baseline", "study") and not registry.has_deed(word)]
print("\\n".join(missing))
"""


def test_every_word_has_its_deed() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
