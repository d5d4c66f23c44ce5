"""Ways out of the sandbox, tried without harm; standard library only.

sandbox.prove runs this file's text inside and looks from outside at what it wrote.
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
    """What is outside, for a program that should not reach it."""

    process: int
    port: int
    socket_name: str
    environment: list[str]
    """Names a program may find in its environment."""
    hidden: list[str]
    """Files it should not see."""
    marker: str
    folders: list[str]
    """Where it tries to write a file of the marker's name."""
    memory_bytes: int
    file_bytes: int
    processes: int
    """One more than the limits allow, for all three."""


def tried(machine: Machine) -> str:
    """Try every way; what succeeded, separated by commas."""
    libc = ctypes.CDLL(None)
    ways = {
        "it signals a process of the machine": _possible(os.kill, machine.process, 0),
        "it is not alone with its process 1": os.getppid() != 1,
        "it becomes root": os.getuid() == 0 or _possible(os.setuid, 0),
        "it inherits the environment": not set(os.environ) <= set(machine.environment),
        "it reaches the network": _possible(_connect, socket.AF_INET, ("127.0.0.1", machine.port)),
        "it reaches a socket": _possible(_connect, socket.AF_UNIX, machine.socket_name),
        "it makes namespaces": libc.unshare(_CLONE_NEWUSER) == 0,
        "it holds memory that no limit counts": _possible(os.memfd_create, "held"),
        "it makes semaphores": libc.semget(0, 1, 0o1600) >= 0,
        "it makes sockets": _possible(socket.socketpair),
        "its memory has no bound": _possible(bytearray, machine.memory_bytes),
        "its files have no bound": _possible(_fill, Path("large"), machine.file_bytes),
        "it starts too many processes": _started(machine.processes) == machine.processes,
    }
    for file in machine.hidden:
        ways[f"it sees {file}"] = _possible(os.stat, file)
    for folder in machine.folders:
        _possible(_fill, Path(folder) / machine.marker, 1)  # the outside sees whether it worked
    return ", ".join(what for what, succeeded in ways.items() if succeeded)


def _possible(attempt: Callable[..., object], *arguments: object) -> bool:
    try:
        attempt(*arguments)
    except (OSError, MemoryError):
        return False
    return True


def _connect(family: socket.AddressFamily, address: tuple[str, int] | str) -> None:
    with socket.socket(family) as end:
        end.connect(address)


def _fill(file: Path, n_bytes: int) -> None:
    file.write_bytes(bytes(n_bytes))


def _started(processes: int) -> int:
    """Start waiting processes until there are as many as asked, or one is refused; how many."""
    for count in range(1, processes):
        try:
            child = os.fork()
        except OSError:
            return count
        if child == 0:
            signal.pause()
    return processes
