"""The program `bfc`: the client's, with the server's commands in it.

A command of the server is run without loading the client, which would be half a second of every start.
"""

import importlib.util
import sys

SERVER_COMMANDS = frozenset({"serve", "api", "worker", "migrate", "key", "doctor", "backup", "restore"})


def main() -> None:
    """Runs the command line."""
    if len(sys.argv) > 1 and sys.argv[1] in SERVER_COMMANDS and importlib.util.find_spec("psycopg") is not None:
        from launch.command import run

        sys.exit(run())
    elif len(sys.argv) > 1 and sys.argv[1] in SERVER_COMMANDS:
        print(f"error `bfc {sys.argv[1]}` is a command of the server, which is not installed here", file=sys.stderr)
        print("pip install 'bfc-lab[all]' brings it; a client alone reaches a server by BFC_URL.", file=sys.stderr)
        sys.exit(2)
    else:
        from bfc_client.command import main as client

        client()


if __name__ == "__main__":
    main()
