"""A client that commits a submission and dies before it can ring."""

import json
import os
import signal
import sys

from bfc_core import specs
from store import jobs
from store.config import Config
from store.engine import connect, transact

if __name__ == "__main__":
    project, body = sys.argv[1], json.loads(sys.argv[2])
    engine = connect(Config.from_env(), name="bfc short-lived")
    job = specs.parse_job(body)
    print(transact(engine, lambda connection: jobs.submit(connection, project, job)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
