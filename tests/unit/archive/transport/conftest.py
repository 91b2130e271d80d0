"""A server of one file, a proxy that goes wrong in front of it, and the time that a server takes."""

from __future__ import annotations

import time

import pytest

from tests.fakes.clock import MEASURING
from tests.fakes.fault_proxy import FaultProxy
from tests.unit.archive.transport.servers import CLOCK, serving


@pytest.fixture(scope="module")
def server():
    with serving() as url:
        yield url


@pytest.fixture
def proxy(server):
    with FaultProxy(server, clock=CLOCK) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def server_time(monkeypatch):
    """Time limits count only what a server makes us wait on purpose."""
    CLOCK.replace_time(monkeypatch)


@pytest.fixture
def all_time(monkeypatch, server_time):
    """Time limits count all time, as they do outside of tests."""
    for module in MEASURING:
        monkeypatch.setattr(f"{module}.time", time)
