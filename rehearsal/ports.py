"""Ports of loopback that stay with whoever took them.

A port that is closed and used again later may be another's by then, as several tests run at once.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress


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


Script = Callable[[socket.socket], object]
"""What happens on one connection; its end closes it."""


class Listener:
    """A free port whose connections follow scripts, one after the other; the last script serves all further ones."""

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        self._scripts, self._context = scripts, context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._connection: socket.socket | None = None
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        self.connections = 0

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        with suppress(OSError):
            if self._connection:
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def refuse(self) -> None:
        """Listen no longer; the connection that is served goes on."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except OSError:  # it listens no longer
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            self._connection.settimeout(10)
            with suppress(OSError):  # the client has gone
                if self._context:
                    self._connection = self._context.wrap_socket(self._connection, server_side=True)
                script(self._connection)
            self._connection.close()
