"""Ports of loopback that stay with whoever took them.

A port that is closed and used again later may be another's by then, as several tests run at once.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


def hold_port(port: int = 0) -> socket.socket:
    """Return a socket that holds a port, 0: any free one, until it is closed.

    It does not listen: a client of the port is refused. A server that sets SO_REUSEADDR, as MariaDB and asyncio do, may
    listen there meanwhile, again and again. The kernel gives the port to nobody else who asks for a free one.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        raise
    return holder


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on a free port, which is returned, and hand each connection to ``serve``, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the end of the block
                    return
                with connection, suppress(OSError):  # the client has gone
                    connection.settimeout(10)
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
