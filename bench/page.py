"""How soon the page is there in Chromium: first paint, a study of 102 members with 1,020,000 points, its curves.

Required on loopback: first useful paint 1 s, the study 2 s. Measured by tests/browser/test_speed.py, on a real API process.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    command = [sys.executable, "-m", "pytest", "tests/browser/test_speed.py", "-q", "-s", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=Path(__file__).parents[1], env={**os.environ, "BFC_BENCH": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
