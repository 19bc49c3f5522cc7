"""`python -m worker --device cpu | cuda:N [--name NAME]`."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings

from sqlalchemy.exc import SQLAlchemyError

from store.bell import Bell
from store.config import Config, ConfigError
from store.engine import connect
from store.schema import SchemaError
from worker import app
from worker.devices import DeviceError, find
from worker.node import Node, identity
from worker.pulse import Pulse
from worker.spawn import Terms


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "from": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["trace"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def main(arguments: list[str] | None = None, terms: Terms | None = None) -> int:
    """Runs one worker; 0 after an orderly end, 1 with one line on stderr when it cannot start."""
    parser = argparse.ArgumentParser(prog="worker", description="Runs jobs on one device.")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--name", help="what /v1/workers calls it")
    asked = parser.parse_args(arguments)
    # Whoever runs us as root, as a container does, has been told so by better authorities.
    warnings.filterwarnings("ignore", message=".*superuser privileges.*")
    try:
        config = Config.from_env()
        write_logs(config.log)
        node = Node(
            config,
            connect(config, name="bfc worker"),
            Bell(config.redis_url),
            identity(find(asked.device), asked.name),
            terms,
        )
        node.register()
    except (ConfigError, DeviceError, SchemaError) as error:
        print(error, file=sys.stderr)
        return 1
    except SQLAlchemyError as error:
        print(f"database: {str(getattr(error, 'orig', error)).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    pulse = Pulse(node)
    pulse.start()
    logging.getLogger("worker").info("worker %s serves %s", node.identity.name, node.identity.device.name)
    try:
        app.serve(app.make_app(config, node), node)
    finally:
        node.close()
        pulse.stop()
    return 0


def write_logs(form: str) -> None:
    """Logs to stderr, as text or as JSON lines."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else text)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


if __name__ == "__main__":
    sys.exit(main())
