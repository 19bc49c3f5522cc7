"""Hosts, ports and who answers there."""

import http.client
import re
import socket
import time

from launch.errors import AddressError, ServerError

# A server that was killed a moment ago may hold its port a moment longer.
PATIENCE_SECONDS = 1.0


def check_address(host: str, port: int) -> int:
    """The port to serve on, a free one for 0; `AddressError` when it cannot be had."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _bind(host, port)
        except socket.gaierror:
            raise AddressError(f"the host {host!r} is not known") from None
        except OSError as error:
            if time.monotonic() > until or isinstance(error, PermissionError):
                why = error.strerror or type(error).__name__
                raise AddressError(f"cannot serve on {host} port {port}: {why}; choose another with --port") from None
        time.sleep(0.1)


def free_port() -> int:
    """A port of loopback that nobody listens on at this moment."""
    return _bind("127.0.0.1", 0)


def address(host: str, port: int) -> str:
    """The URL to give to a person: one that leads here, also where we listen on every interface."""
    return f"http://{_within_url(_reachable(host))}:{port}"


def answers(host: str, port: int) -> bool:
    """True when the API there says that it is ready."""
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=5)
    try:
        connection.request("GET", "/readyz", headers={"Host": f"{_within_url(_reachable(host))}:{port}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reach_broker(url: str) -> None:
    """`ServerError` in one line unless a Redis answers there."""
    import redis  # a fifth of a second that a start with the embedded Redis does not need

    client = None
    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5)
        client.ping()
    except (redis.RedisError, ValueError, OSError) as error:
        shown = re.sub(r"://[^@/]*@", "://", url)
        raise ServerError(f"the Redis at {shown} cannot be reached: {error}") from None
    finally:
        if client is not None:
            client.close()


def _bind(host: str, port: int) -> int:
    family, kind, protocol, _name, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(place)
        # Bound is not enough: two may bind with SO_REUSEADDR, only one may listen.
        server.listen()
        return int(server.getsockname()[1])


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _within_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
