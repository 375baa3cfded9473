"""Ports of loopback: a free one, and whether a given one can be had."""

import contextlib
import os
import socket

import psutil

from components.errors import EnvironmentProblem

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_port(port: int, setting: str) -> None:
    """Raise EnvironmentProblem, which names whoever listens there, unless a server can listen on `port`.

    Args:
        setting: what names another port: a variable of the environment, or an option.
    """
    reason = bind_error(port)
    if reason is not None:
        raise EnvironmentProblem(
            f"port {port} is in use{port_owner(port)} ({reason.strerror}).",
            hint=f"Stop the other program, or set {setting} to another port.",
        )


def bind_error(port: int) -> OSError | None:
    """The system's reason why a server could not listen on `port`; None when it could."""
    with socket.socket() as probe:
        # As the servers do, or a port that was closed a moment ago would count as used. On Windows it takes any port.
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
    return None


def port_owner(port: int) -> str:
    """` by NAME (process PID)` where the system tells, else nothing."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
            if listens and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
