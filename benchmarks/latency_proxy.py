"""A TCP proxy on loopback that makes the way to a server longer.

    python benchmarks/latency_proxy.py PORT MILLISECONDS

Prints the port on which it listens. A connection takes a round trip before its first byte passes, as TCP's
handshake does; each direction then takes half of one. Bandwidth is that of the machine.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque


class Delayed(asyncio.Protocol):
    """One end of a connection: what comes in goes out at the other end, some time later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self._not_before = 0.0
        self.transport: asyncio.Transport | None = None
        self.other: Delayed | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def hold_until(self, moment: float) -> None:
        self._not_before = moment

    def data_received(self, data: bytes) -> None:
        self._pass_on(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._pass_on(b"")

    def _pass_on(self, data: bytes) -> None:
        # Timers of one moment fire in any order: each takes what has waited longest.
        self._waiting.append(data)
        self._loop.call_at(max(self._loop.time() + self._seconds, self._not_before), self._send_oldest)

    def _send_oldest(self) -> None:
        data = self._waiting.popleft()
        if self.other is None or self.other.transport is None or self.other.transport.is_closing():
            return
        if data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class Accepted(Delayed):
    """The client's end: connects to the server before anything passes."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(seconds)
        self._port = port
        self._seconds = seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self.hold_until(self._loop.time() + 3 * self._seconds)
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        _, far = await self._loop.create_connection(lambda: Delayed(self._seconds), "127.0.0.1", self._port)
        far.other, self.other = self, far
        assert self.transport is not None
        self.transport.resume_reading()


async def serve(port: int, round_trip_seconds: float) -> None:
    """Serves until it is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Accepted(port, round_trip_seconds / 2), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
