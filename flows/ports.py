"""Ports of loopback: a free one, and why a given one cannot be had."""

import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def refusal(port: int) -> OSError | None:
    """The system's reason why a server could not listen on `port`; None when it could."""
    with socket.socket() as probe:
        # As the servers do, or a port that was closed a moment ago would count as used.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None
