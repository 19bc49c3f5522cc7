"""Hosts of a city: a network namespace a worker, on a wire of its own that can be cut; where the machine allows it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from ipaddress import ip_address

from tests.proxy import Proxy


def ip(*words: str) -> None:
    """`ip WORDS`; `OSError` or `CalledProcessError` where that is not allowed."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@dataclass
class Host:
    """One namespace. The servers are reached over its wire alone, through proxies at the wire's near end."""

    number: int
    proxies: list[Proxy] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"bfc-{os.getpid()}-{self.number}"

    @property
    def wire(self) -> str:
        # An interface's name has 15 letters at most.
        return f"b{os.getpid()}v{self.number}"

    def address(self, end: int) -> str:
        """Of the near (1) or the far (2) end of the wire, in a network of 4 addresses of 10.192.0.0/10."""
        place = (16 * os.getpid() + self.number) % (1 << 20)
        return str(ip_address("10.192.0.0") + 4 * place + end)

    def open(self) -> None:
        ip("netns", "add", self.name)
        ip("link", "add", self.wire, "type", "veth", "peer", "name", f"{self.wire}f", "netns", self.name)
        ip("addr", "add", f"{self.address(1)}/30", "dev", self.wire)
        ip("link", "set", self.wire, "up")
        ip("-n", self.name, "addr", "add", f"{self.address(2)}/30", "dev", f"{self.wire}f")
        ip("-n", self.name, "link", "set", f"{self.wire}f", "up")
        ip("-n", self.name, "link", "set", "lo", "up")

    def reach(self, url: str) -> str:
        """The address at which the server of `url` is seen from here."""
        self.proxies.append(Proxy(url, self.address(1)))
        return self.proxies[-1].url

    def command(self, words: list[str]) -> list[str]:
        """`words`, run on this host; the process is that of `words` itself."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *words]

    def cut(self) -> None:
        """Nothing passes any more and nobody is told, as when a cable is pulled."""
        ip("link", "set", self.wire, "down")

    def mend(self) -> None:
        ip("link", "set", self.wire, "up")

    def close(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True, timeout=20)


def found(count: int) -> tuple[list[Host], str]:
    """`count` open hosts; or none, and why."""
    hosts = [Host(number) for number in range(count)]
    try:
        for host in hosts:
            host.open()
        subprocess.run(hosts[0].command(["true"]), check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        for host in hosts:
            host.close()
        said = getattr(error, "stderr", b"") or str(error).encode()
        return [], said.decode().strip()
    return hosts, ""
