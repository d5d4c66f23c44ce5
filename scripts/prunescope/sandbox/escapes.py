"""Attempts to escape from the sandbox that do no harm if they succeed; standard library only.

`starter.prove` runs the text of this file inside the sandbox and checks from outside whether it has
written any file. The file must therefore not import anything of prunescope.
"""

import ctypes
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_CLONE_NEWUSER = 0x1000_0000


class Machine(NamedTuple):
    """Things outside the sandbox that a program inside must not reach."""

    process: int
    """Id of a process of the machine."""
    port: int
    """TCP port on which the machine listens."""
    socket_name: str
    """Unix socket on which the machine listens."""
    environment: list[str]
    """Names of the variables that a program may find in its environment."""
    hidden: list[str]
    """Files that a program must not see."""
    marker: str
    """Name of the file that the program tries to write."""
    folders: list[str]
    """Folders in which it tries to write that file."""
    memory_bytes: int
    """More memory than a process may use."""
    file_bytes: int
    """More bytes than a file may have."""
    processes: int
    """One process more than a program may have."""


def tried(machine: Machine) -> str:
    """Try every escape; returns those that succeeded, separated by commas."""
    libc = ctypes.CDLL(None)
    escaped_by_way = {
        "it signals a process of the machine": _succeeds(os.kill, machine.process, 0),
        "it is not alone with its process 1": os.getppid() != 1,
        "it becomes root": os.getuid() == 0 or _succeeds(os.setuid, 0),
        "it inherits the environment": not set(os.environ) <= set(machine.environment),
        "it reaches the network": _succeeds(_connect, socket.AF_INET, ("127.0.0.1", machine.port)),
        "it reaches a socket": _succeeds(_connect, socket.AF_UNIX, machine.socket_name),
        "it makes namespaces": libc.unshare(_CLONE_NEWUSER) == 0,
        "it holds memory that no limit counts": _succeeds(os.memfd_create, "held"),
        "it makes semaphores": libc.semget(0, 1, 0o1600) >= 0,
        "it makes sockets": _succeeds(socket.socketpair),
        "its memory has no bound": _succeeds(bytearray, machine.memory_bytes),
        "its files have no bound": _succeeds(_fill, Path("large"), machine.file_bytes),
        "it starts too many processes": _count_started(machine.processes) == machine.processes,
    }
    for file in machine.hidden:
        escaped_by_way[f"it sees {file}"] = _succeeds(os.stat, file)
    for folder in machine.folders:
        _succeeds(_fill, Path(folder) / machine.marker, 1)  # checked from outside
    return ", ".join(way for way, succeeded in escaped_by_way.items() if succeeded)


def _succeeds(attempt: Callable[..., object], *arguments: object) -> bool:
    try:
        attempt(*arguments)
    except (OSError, MemoryError):
        return False
    return True


def _connect(family: socket.AddressFamily, address: tuple[str, int] | str) -> None:
    with socket.socket(family) as connection:
        connection.connect(address)


def _fill(file: Path, n_bytes: int) -> None:
    file.write_bytes(bytes(n_bytes))


def _count_started(processes: int) -> int:
    """Start idle processes until there are `processes`, or one is refused; returns their number."""
    for count in range(1, processes):
        try:
            child = os.fork()
        except OSError:
            return count
        if child == 0:
            signal.pause()
    return processes
