"""A Service: hands each new connection to one of the pods that are ready, in turn. ``python switch.py PORT:TARGET ...``

Runs in a container of its own. What comes in on port 9999 is a line of the addresses of ready pods.
"""

import asyncio
import itertools
import sys

CONTROL = 9999


async def main() -> None:
    ready: list[str] = []
    turn = itertools.count()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready[:] = (await reader.readline()).decode().split()
        writer.write(b"ok\n")
        writer.close()

    def to(target: int) -> object:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not ready:  # as a Service without endpoints: refused
                writer.transport.abort()
                return
            address = ready[next(turn) % len(ready)]
            try:
                there, back = await asyncio.open_connection(address, target)
            except OSError:
                writer.transport.abort()
                return
            await asyncio.gather(_copy(reader, back), _copy(there, writer))

        return serve

    for pair in sys.argv[1:]:
        port, target = map(int, pair.split(":"))
        await asyncio.start_server(to(target), "0.0.0.0", port)
    await asyncio.start_server(control, "0.0.0.0", CONTROL)
    await asyncio.Event().wait()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(main())
