"""`python -m migrations upgrade | downgrade [REVISION] | check`."""

import sys

from sqlalchemy.exc import DBAPIError

from migrations import commands
from store.config import Config, ConfigError
from store.engine import connect

USAGE = "usage: python -m migrations upgrade [REVISION] | downgrade [REVISION] | check"


def main(arguments: list[str]) -> int:
    """Runs one command; 0 when it succeeded, 1 with one line on stderr when not, 2 for a wrong call."""
    match arguments:
        case ["upgrade" | "downgrade" as step, *rest] if len(rest) <= 1:
            pass
        case ["check" as step]:
            rest = []
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    try:
        engine = connect(Config.from_env(), pool_size=1, name="bfc migrate")
        getattr(commands, step)(engine, *rest)
        with engine.connect() as connection:
            print(f"schema at {commands.current(connection) or 'base'}")
    except DBAPIError as error:
        print(f"database: {str(error.orig).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    except (commands.SchemaError, ConfigError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
