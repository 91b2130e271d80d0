"""Ports for servers that have to be told one."""

from __future__ import annotations

import itertools
import random
import socket

FIRST, LAST = 20_000, 30_000
"""Below what systems give to clients: between this and the server's start no connection takes the port."""


def find_ports(count: int) -> list[int]:
    """Returns different random ports of 127.0.0.1 on which nothing listens."""
    candidates = random.SystemRandom().sample(range(FIRST, LAST), LAST - FIRST)
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) != 0
