"""Drive the lab from another tool: submit by HTTP, be told by webhook when it is done, read the result.

    BFC_ALLOW_PRIVATE_WEBHOOKS=1 bfc serve      # because this listener is on your own machine
    python examples/drive_from_another_tool.py [SPEC.json]

Nothing of bfc-lab is imported: it is what a tool in any language would do. The signature follows Standard Webhooks.
"""

import base64
import hashlib
import hmac
import json
import os
import queue
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

LAB = os.environ.get("BFC_URL", "http://127.0.0.1:8321")
KEY = os.environ.get("BFC_KEY")
ENDS = ["job.succeeded", "job.failed", "job.cancelled"]
OLDEST_SECONDS = 300
PATIENCE_SECONDS = 600
SPEC = {"kind": "train", "name": "from another tool", "spec": {"schedule": {"kind": "joint"}}}


def call(method: str, path: str, body: Any = None) -> Any:
    """One call of the HTTP interface; a POST carries an Idempotency-Key, so that it may be repeated."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
    if KEY:
        headers["Authorization"] = f"Bearer {KEY}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(LAB + path, data, headers, method=method)) as reply:  # noqa: S310  the lab's own address
            text = reply.read()
    except HTTPError as refused:
        problem = json.loads(refused.read())
        faults = "".join(f"\n  {one['pointer']}: {one['detail']}" for one in problem.get("errors", []))
        raise SystemExit(f"{problem['title']}: {problem.get('detail', '')}{faults}") from refused
    except URLError as away:
        raise SystemExit(f"no lab at {LAB} ({away.reason}); start one with: bfc serve") from away
    return json.loads(text) if text else None


def genuine(secret: str, headers: Any, body: bytes) -> bool:
    """Whether a delivery was signed with our secret, lately."""
    at = headers["webhook-timestamp"]
    if abs(time.time() - int(at)) > OLDEST_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{headers['webhook-id']}.{at}.".encode() + body, hashlib.sha256).digest()
    ours = "v1," + base64.b64encode(signed).decode()
    return any(hmac.compare_digest(ours, theirs) for theirs in headers["webhook-signature"].split())


class Listener(HTTPServer):
    """Hears deliveries; what is not genuine is refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Delivery)
        self.secret = ""
        self.heard: queue.Queue[Any] = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Delivery(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        sound = genuine(self.server.secret, self.headers, body)
        self.send_response(204 if sound else 401)
        self.end_headers()
        if sound:
            self.server.heard.put(json.loads(body))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name
        """Deliveries are reported by the main thread."""


def main() -> int:
    body = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else SPEC
    listener = Listener()
    hook = call("POST", "/v1/webhooks", {"url": listener.url, "events": ENDS})
    listener.secret = hook["secret"]
    try:
        job = call("POST", "/v1/jobs", body)
        print(f"submitted {job['id']}")
        while (told := listener.heard.get(timeout=PATIENCE_SECONDS))["job"] != job["id"]:
            pass
        print(f"told: {told['type']} {told['data']}")
        job = call("GET", f"/v1/jobs/{job['id']}")
        if job["state"] == "succeeded":
            print(json.dumps(call("GET", f"/v1/jobs/{job['id']}/results")["summary"], indent=1))
        return 0 if job["state"] == "succeeded" else 1
    except queue.Empty:
        print(f"not told within {PATIENCE_SECONDS} s", file=sys.stderr)
        return 1
    finally:
        call("DELETE", f"/v1/webhooks/{hook['id']}")
        listener.shutdown()


if __name__ == "__main__":
    sys.exit(main())
