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

    def __init__(self, seconds: float, other: Delayed | None = None) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self._not_before = 0.0
        self.transport: asyncio.Transport | None = None
        self.other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def hold_until(self, moment: float) -> None:
        self._not_before = moment

    def join(self, other: Delayed) -> None:
        """Passes on what came before the other end was there, and everything from now on."""
        self.other = other
        for _ in self._waiting:
            self._send_later()

    def data_received(self, data: bytes) -> None:
        self._pass_on(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._pass_on(b"")

    def _pass_on(self, data: bytes) -> None:
        self._waiting.append(data)
        if self.other is not None:
            self._send_later()

    def _send_later(self) -> None:
        # Timers of one moment fire in any order: each takes what has waited longest.
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
    """The client's end: what it says waits until the server is reached."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(seconds)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.hold_until(self._loop.time() + 3 * self._seconds)
        self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            _, far = await self._loop.create_connection(
                lambda: Delayed(self._seconds, self), "127.0.0.1", self._port
            )
        except OSError:
            assert self.transport is not None
            self.transport.abort()
            return
        self.join(far)


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
