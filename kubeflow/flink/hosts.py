"""Hosts on one machine: network namespaces on a bridge.

So several instances can run of a program of which a host has one. Needs root and `ip`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from medimg.errors import MedimgError

BRIDGE = "medimg0"
NETWORK = "10.77.0"
PREFIX = "medimg-"
CABLE = "medimg-v"


def address_of(number: int) -> str:
    """The address of a host; the machine itself, on the bridge, is number 1."""
    return f"{NETWORK}.{number}"


def name_of(number: int) -> str:
    """The namespace of a host."""
    return f"{PREFIX}{number}"


def inside(number: int) -> tuple[str, ...]:
    """What a command begins with to run on a host."""
    return "ip", "netns", "exec", name_of(number)


def on_core(place: int) -> tuple[str, ...]:
    """Returns what a command begins with to run, with its children, on one core of this process alone.

    Raises:
        MedimgError: this process may not use so many cores.
    """
    cores = sorted(os.sched_getaffinity(0))
    if place >= len(cores):
        raise MedimgError(f"host {place + 1} has no core of its own: this process may use {len(cores)}")
    return "taskset", "--cpu-list", str(cores[place])


@contextmanager
def hosts(*numbers: int) -> Iterator[None]:
    """Hosts of these numbers (2 to 254) until the block ends.

    One such network per machine: what an earlier process left behind is taken away first.

    Raises:
        MedimgError: not root, or the kernel or `ip` does not have what it takes.
    """
    if os.geteuid() != 0 or not shutil.which("ip"):
        raise MedimgError(
            "network namespaces need root and the program ip (Debian, Ubuntu: apt-get install iproute2)"
        )
    remove()
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("address", "add", f"{address_of(1)}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number in numbers:
            add_host(number)
        let_pass("-I")
        yield
    finally:
        remove()


def add_host(number: int) -> None:
    """One namespace with a cable to the bridge."""
    name, cable = name_of(number), f"{CABLE}{number}"
    ip("netns", "add", name)
    ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("link", "set", cable, "master", BRIDGE, "up")
    ip("-n", name, "address", "add", f"{address_of(number)}/24", "dev", "eth0")
    for device in ("eth0", "lo"):
        ip("-n", name, "link", "set", device, "up")


def remove() -> None:
    """Kills what runs on the hosts and takes them away, with the bridge; nothing if there are none."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines()
    for name in (line.split()[0] for line in listed if line.startswith(PREFIX)):
        for process in subprocess.run(
            ["ip", "netns", "pids", name], capture_output=True, text=True
        ).stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        ip("netns", "delete", name)
    # A namespace lives on, and with it its cable, until the last of its processes is gone; it may be gone by
    # now.
    cables = subprocess.run(
        ["ip", "-json", "link", "show", "type", "veth"], capture_output=True, text=True
    ).stdout
    for cable in json.loads(cables or "[]"):
        if cable["ifname"].startswith(CABLE):
            subprocess.run(["ip", "link", "delete", cable["ifname"]], capture_output=True)
    if subprocess.run(["ip", "link", "show", BRIDGE], capture_output=True).returncode == 0:
        ip("link", "delete", BRIDGE)
        let_pass("-D")


def let_pass(action: str) -> None:
    """Adds or removes a rule of the firewall for the bridge: where Docker runs, it forwards only its own."""
    if shutil.which("iptables"):
        subprocess.run(
            ["iptables", action, "FORWARD", "-i", BRIDGE, "-o", BRIDGE, "-j", "ACCEPT"], capture_output=True
        )


def ip(*words: str) -> None:
    """Runs `ip`; raises MedimgError with what it says."""
    result = subprocess.run(["ip", *words], capture_output=True, text=True)
    if result.returncode:
        raise MedimgError(f"ip {' '.join(words)}: {result.stderr.strip()}")
