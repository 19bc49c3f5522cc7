"""`python -m worker --device cpu | cuda:N [--name NAME]`."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings

from sqlalchemy.exc import SQLAlchemyError

from store.bell import Bell
from store.config import Config, ConfigError
from store.engine import connect
from store.schema import SchemaError
from worker import app
from worker.devices import DeviceError, find
from worker.logs import write_logs
from worker.node import Node, identity
from worker.pulse import Pulse
from worker.spawn import Terms


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


if __name__ == "__main__":
    sys.exit(main())
