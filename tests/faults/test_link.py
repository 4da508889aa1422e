"""The link by which the tests reach servers does to connections what its names say."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.link import Link


@pytest.fixture
def link() -> Iterator[Link]:
    """To a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                while piece := connection.recv(1_024):
                    connection.sendall(piece)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        link = Link("127.0.0.1", server.getsockname()[1])
        yield link
        link.close()
        server.shutdown(socket.SHUT_RDWR)


def connected(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=5)


def test_it_carries_what_comes_both_ways(link: Link) -> None:
    with connected(link) as client:
        client.sendall(b"there and back")

        assert client.recv(100) == b"there and back"


def test_a_cut_resets_what_is_open_and_lets_new_connections_in(link: Link) -> None:
    with connected(link) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"

        link.cut()

        with pytest.raises(ConnectionResetError):
            client.recv(100)
    with connected(link) as client:
        client.sendall(b"two")
        assert client.recv(100) == b"two"


def test_a_refusing_link_is_closed_until_it_is_restored(link: Link) -> None:
    link.refuse()

    with pytest.raises(ConnectionRefusedError):
        connected(link)
    link.restore()
    with connected(link) as client:
        client.sendall(b"again")
        assert client.recv(100) == b"again"


def test_a_silent_link_takes_connections_and_delivers_when_it_is_restored(link: Link) -> None:
    link.silence()
    with connected(link) as client:
        client.sendall(b"late")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)

        link.restore()

        client.settimeout(5)
        assert client.recv(100) == b"late"


def test_a_slow_link_takes_its_time(link: Link) -> None:
    link.slow_down(0.1, bytes_per_second=1_000)
    with connected(link) as client:
        began = time.monotonic()
        client.sendall(b"x" * 100)
        received = b""
        while len(received) < 100:
            received += client.recv(100)

        # Both ways: a tenth of a second, and another one for a hundred bytes.
        assert time.monotonic() - began >= 0.4
