"""A worker under chaos: the real one; with `BFC_CHAOS_CHILD` its children run that program instead of torch."""

import os
import sys
from pathlib import Path

from worker import __main__ as worker
from worker.spawn import Terms

if __name__ == "__main__":
    program = os.environ.get("BFC_CHAOS_CHILD")
    terms = None
    if program:
        terms = Terms((sys.executable, program), None, Path(__file__).parents[2])
    sys.exit(worker.main(terms=terms))
