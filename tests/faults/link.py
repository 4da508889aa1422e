"""A TCP link that can be cut, refused, silenced and slowed: a network between two processes of one machine."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

_PIECE_BYTES = 65_536
# Closing a socket with this sends a reset: nothing that is on its way arrives.
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Way:
    """One direction of a link. delay_seconds: for each piece. bytes_per_second: None is as fast as it goes."""

    delay_seconds: float = 0
    bytes_per_second: float | None = None
    is_silent: bool = False


class Link:
    """Listens on a port of its own and carries what comes to host:port, and back.

    A silent way takes what is sent and holds it back until it is no longer silent.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.there, self.back = Way(), Way()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link to {port}", daemon=True)
        self._thread.start()
        self._do(self._listen(self._socket))

    def cut(self) -> None:
        """Resets all connections; what is on its way is lost."""
        self._do(self._cut())

    def refuse(self) -> None:
        """Resets all connections and takes no new ones."""
        self._do(self._stop())

    def silence(self) -> None:
        """Takes connections and all that is sent, and delivers nothing."""
        self.there.is_silent = self.back.is_silent = True

    def slow_down(self, delay_seconds: float, bytes_per_second: float | None = None) -> None:
        for way in (self.there, self.back):
            way.delay_seconds, way.bytes_per_second = delay_seconds, bytes_per_second

    def restore(self) -> None:
        """Carries everything again, what was held back first."""
        for way in (self.there, self.back):
            way.delay_seconds, way.bytes_per_second, way.is_silent = 0, None, False
        if self._server is None:
            self._do(self._listen(socket.create_server(("127.0.0.1", self.port))))

    def close(self) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, listening: socket.socket) -> None:
        self._server = await asyncio.start_server(self._carry, sock=listening)

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _cut(self) -> None:
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            _reset(writer)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            self._writers.discard(writer)
            return
        self._writers.add(onward_writer)
        ways = [
            asyncio.ensure_future(_pump(reader, onward_writer, self.there)),
            asyncio.ensure_future(_pump(onward_reader, writer, self.back)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        # What one side has sent before it closed still arrives; then the other side is closed too.
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._tasks.difference_update(ways)
        for each in (writer, onward_writer):
            self._writers.discard(each)
            each.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            seconds = way.delay_seconds + len(piece) / (way.bytes_per_second or float("inf"))
            if seconds:
                await asyncio.sleep(seconds)
            while way.is_silent:
                await asyncio.sleep(0.05)
            writer.write(piece)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
