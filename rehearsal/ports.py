"""Ports of loopback that stay with whoever took them.

A port that is closed and used again later may be another's by then, as several tests run at once.
"""

from __future__ import annotations

import socket


def hold_port(port: int = 0) -> socket.socket:
    """Return a socket that holds a port, 0: any free one, until it is closed.

    It does not listen: a client of the port is refused. A server may listen there meanwhile, as often as it likes, if it
    sets SO_REUSEADDR, as MariaDB and asyncio do. The kernel gives the port to nobody else who asks for a free one.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(("127.0.0.1", port))
    except OSError:
        holder.close()
        raise
    return holder
