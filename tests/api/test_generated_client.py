"""A client written from `/openapi.json` by a generator type-checks and runs the README's session.

The generator brings packages of its own, so it is not one of the lab's requirements: `pip install openapi-python-client
mypy` in an environment whose folder `BFC_CLIENT_GENERATOR` names, or on the PATH, lets this test run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import Running
from tests.api.works import Works

FOLDER = os.environ.get("BFC_CLIENT_GENERATOR", "")
FOUND = shutil.which("openapi-python-client", path=str(Path(FOLDER) / "bin") if FOLDER else None)
SESSION = Path(__file__).with_name("generated_session.py")


@pytest.mark.skipif(FOUND is None, reason="no openapi-python-client on the PATH or in BFC_CLIENT_GENERATOR")
def test_a_generated_client_type_checks_and_runs_the_session(
    running: Running, api: httpx.Client, works: Works, tmp_path: Path
) -> None:
    assert FOUND is not None
    bin_ = Path(FOUND).parent
    (tmp_path / "openapi.json").write_bytes(api.get("/openapi.json").content)
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    command = [FOUND, "generate", "--path", "openapi.json", "--output-path", "client", "--meta", "none"]
    command += ["--config", "config.yml"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    told = made.stdout + made.stderr
    assert "Unable to process" not in told, told[:3000]
    assert "Cannot parse" not in told, told[:3000]
    (tmp_path / "client").rename(tmp_path / "bfc_lab_client")
    shutil.copy(SESSION, tmp_path)
    checked = subprocess.run(
        [bin_ / "mypy", "--strict", "bfc_lab_client", SESSION.name],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout[-3000:]
    session = subprocess.Popen(
        # The generator's own code makes Python warn.
        [bin_ / "python", "-W", "ignore", SESSION.name, running.url],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert session.stdout is not None
    works.succeed(session.stdout.readline().strip())
    said = session.communicate(timeout=120)[0]
    assert (session.returncode, said.strip()) == (0, "done"), said
