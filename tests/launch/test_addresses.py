"""Ports, hosts, and a Redis of our own."""

import socket
from pathlib import Path

import pytest
import redis

from launch import process
from launch.addresses import address, answers, check_address, free_port, reach_broker
from launch.broker import Broker
from launch.errors import AddressError, ServerError


def test_a_taken_port_is_refused_in_one_line() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(AddressError, match=r"cannot serve on 127.0.0.1 port \d+: Address already in use; choose another"),
    ):
        check_address("127.0.0.1", taken.getsockname()[1])


def test_port_0_takes_a_free_one() -> None:
    port = check_address("127.0.0.1", 0)
    assert port > 0
    assert check_address("127.0.0.1", port) == port


@pytest.mark.parametrize(
    ("host", "port", "why"),
    [
        ("no.such.host.invalid", 8321, "'no.such.host.invalid' is not known"),
        ("192.0.2.1", 0, "annot assign requested address"),
    ],
)
def test_an_address_that_is_not_ours_is_refused(host: str, port: int, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        check_address(host, port)


def test_the_address_shown_leads_here_from_every_interface() -> None:
    assert address("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert address("::", 80) == "http://[::1]:80"
    assert address("localhost", 80) == "http://localhost:80"


def test_silence_is_no_answer() -> None:
    assert not answers("127.0.0.1", free_port())


def test_an_unreachable_redis_is_named_without_its_password() -> None:
    port = free_port()
    with pytest.raises(ServerError, match=rf"the Redis at redis://127.0.0.1:{port}/0 cannot be reached") as raised:
        reach_broker(f"redis://:secret@127.0.0.1:{port}/0")
    assert "secret" not in str(raised.value)
    with pytest.raises(ServerError, match="cannot be reached"):
        reach_broker("nonsense")


def test_the_embedded_redis_answers_to_its_password_alone(tmp_path: Path) -> None:
    broker = Broker()
    server = process.start(broker.command, log=tmp_path / "redis.log", stdin=broker.settings)
    try:
        assert process.wait_for(broker.is_ready, 5)
        reach_broker(broker.url)
        assert broker.password not in " ".join(broker.command)
        with redis.Redis(port=broker.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis.from_url(broker.url, decode_responses=True) as client:
            assert client.config_get("save") == {"save": ""}, "the ledger rings lost bells again: nothing is kept"
    finally:
        process.kill(server)
