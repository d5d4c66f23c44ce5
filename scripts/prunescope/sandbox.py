"""Run programs that a model wrote: no network, nothing but scratch to write, bounded, then gone.

Linux namespaces (processes, mounts, network, IPC, users), a filter of system calls, an id without
rights and process limits: jail.py builds them. Root needs nothing else; others need the right to
make user namespaces. `prove` tries to escape, and is asked before the first program is run.
"""

import contextlib
import json
import os
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from prunescope import escapes, jail
from prunescope.progress import JobError

SCRATCH_MB = 16
"""Space of the scratch folder, and the size of any one file."""

_GRACE_SECONDS = 20.0
"""Beyond the program's own time: the start and the end of three processes on a busy machine."""
_REASON_CHARACTERS = 200
_VERDICT_BYTES = 8192
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")
"""What an interpreter needs of the system, as far as it is there."""
_REMEDY = (
    "Set `benchmarks.run_code: false`, or let this user make namespaces: in a container, start it "
    "with CAP_SYS_ADMIN; elsewhere, set user.max_user_namespaces above 0 and, on Ubuntu, "
    "kernel.apparmor_restrict_unprivileged_userns to 0."
)


class SandboxError(JobError):
    """The sandbox does not stand, so no program is trusted to it."""


class Limits(NamedTuple):
    """What one program may use. All its memory is at most memory_mb · processes + SCRATCH_MB."""

    seconds: float = 5.0
    """Wall-clock time."""
    memory_mb: int = 512
    """Address space of each process."""
    processes: int = 4
    """Processes and threads alive at once."""
    output_kb: int = 1024
    """Standard output and error together; none of it is kept."""


class Outcome(NamedTuple):
    """How a program ended."""

    passed: bool
    """It came to its end and raised nothing."""
    reason: str
    """Empty, "timed out", "killed: ...", or the error it raised: one line of bounded length."""


class _Heard(NamedTuple):
    """What reached the starter before the last process inside was gone."""

    verdict: bytes
    n_bytes: int
    on_time: bool


def run(program: str, limits: Limits = Limits()) -> Outcome:  # noqa: B008 - immutable
    """Run one Python program on the standard library alone; when it returns, nothing is left of it.

    A program passes if it reaches its end: `exit()` does not pass. It shares an interpreter with
    the tests it ends in, so one made to cheat them may pass; it gets nowhere else by that.

    Raises
    ------
    SandboxError
        if a wall cannot be built; the program was not run.
    """
    token = secrets.token_hex(16)
    verdict_read, verdict_write = os.pipe()
    with (
        os.fdopen(verdict_read, "rb", buffering=0) as verdict,
        tempfile.TemporaryFile() as complaints,
    ):
        with os.fdopen(verdict_write, "wb"):
            jailer = subprocess.Popen(
                [sys.executable, "-I", "-S", jail.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                pass_fds=[verdict_write],
                start_new_session=True,
                cwd="/",
                env=jail.environment(),
            )
        with jailer:  # its end closes standard input, and with that kills what is inside
            heard = _listen(
                jailer, verdict.fileno(), _message(program, token, verdict_write, limits), limits
            )
        complaints.seek(0)
        complaint = complaints.read(2000).decode(errors="replace")
    return _outcome(jailer.returncode, heard, token, complaint, limits)


def _message(program: str, token: str, verdict_file: int, limits: Limits) -> bytes:
    """What the jailer waits for: length, then the Start in JSON."""
    interpreter = _interpreter()
    start = jail.Start(
        program=program,
        token=token,
        verdict_file=verdict_file,
        interpreter=str(interpreter),
        readable=_readable(interpreter),
        seconds=limits.seconds,
        memory_bytes=limits.memory_mb << 20,
        processes=limits.processes,
        scratch_bytes=SCRATCH_MB << 20,
    )
    text = json.dumps(start._asdict()).encode()
    return len(text).to_bytes(8, "big") + text


def _interpreter() -> Path:
    """The Python that runs this, behind any virtual environment."""
    return Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


def _readable(interpreter: Path) -> list[str]:
    """Places the program sees: system libraries and the interpreter's own, none inside another."""
    own = [sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib")]
    places = [interpreter.parent, *(Path(place).resolve() for place in own)]
    if any(Path.home().is_relative_to(place) for place in places):
        raise SandboxError(
            f"the sandbox would show the home folder {Path.home()}, for the Python that runs this "
            f"lies in {sys.base_prefix}. Use another Python, or set `benchmarks.run_code: false`."
        )
    shown = [Path(place) for place in _SYSTEM if Path(place).exists()]
    for place in sorted(set(places)):
        if not any(place.is_relative_to(other.resolve()) for other in shown):
            shown.append(place)
    return [str(place) for place in shown]


def _listen(
    jailer: subprocess.Popen[bytes], verdict_file: int, message: bytes, limits: Limits
) -> _Heard:
    """Hand over the program; count what it says until every process of it is gone."""
    assert jailer.stdin is not None
    assert jailer.stdout is not None
    deadline = time.monotonic() + limits.seconds + _GRACE_SECONDS
    verdict, n_bytes, on_time = b"", 0, True
    with selectors.DefaultSelector() as files:
        files.register(jailer.stdout, selectors.EVENT_READ)
        files.register(verdict_file, selectors.EVENT_READ)
        try:
            jailer.stdin.write(message)
            jailer.stdin.flush()
        except BrokenPipeError:
            return _Heard(verdict, n_bytes, on_time)  # its exit status says why
        while files.get_map():
            on_time = on_time and time.monotonic() < deadline
            if not on_time or n_bytes > limits.output_kb * 1024:
                jailer.stdin.close()
            for key, _ in files.select(timeout=1.0):
                part = os.read(key.fd, 1 << 16)
                n_bytes += len(part)
                if key.fd == verdict_file:
                    verdict = (verdict + part)[:_VERDICT_BYTES]
                if not part:
                    files.unregister(key.fileobj)
    return _Heard(verdict, n_bytes, on_time)


def _outcome(status: int, heard: _Heard, token: str, complaint: str, limits: Limits) -> Outcome:
    """Exit status of the jailer and what was heard, as an outcome; SandboxError where it failed."""
    if heard.n_bytes > limits.output_kb * 1024:
        return Outcome(False, f"killed: more than {limits.output_kb} KB of output")
    if status == jail.TIMED_OUT or not heard.on_time:
        return Outcome(False, "timed out")
    if status < 0 or status > jail.KILLED:
        return Outcome(False, f"killed: {_signal_name(abs(status) % jail.KILLED)}")
    if status != 0:
        said = complaint.strip().splitlines() or [f"exit status {status}"]
        raise SandboxError(f"the sandbox cannot be built here: {said[-1]}. {_REMEDY}")
    given, _, error = heard.verdict.decode(errors="replace").partition("\n")
    if given != token:
        return Outcome(False, "killed: it ended its own process before its last line")
    return Outcome(not error, " ".join(error.split())[:_REASON_CHARACTERS])


def _signal_name(number: int) -> str:
    known = {each.value: each.name for each in signal.Signals}
    return known.get(number, f"signal {number}")


def prove(limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
    """Try to escape, harmlessly and in every direction; takes about two seconds.

    Raises
    ------
    SandboxError
        naming what escaped, what cannot be built here, or what does not run inside.
    """
    flood = "import os\nwhile True: os.write(1, bytes(1 << 16))"
    too_much = f"killed: more than {limits.output_kb} KB of output"
    for what, program, given, reason in (
        ("a true assertion", "assert 1 + 1 == 2", limits, ""),
        ("a false assertion", "assert 1 + 1 == 3, 'sum'", limits, "AssertionError: sum"),
        ("an endless loop", "while True: pass", limits._replace(seconds=1.0), "timed out"),
        ("endless output", flood, limits, too_much),
    ):
        outcome = run(program, given)
        if outcome.reason != reason:
            raise SandboxError(
                f"the sandbox ends {what} with {outcome.reason!r} instead of {reason!r}. {_REMEDY}"
            )
    if escaped := _escaped(limits):
        raise SandboxError(f"the sandbox leaks: {escaped}. {_REMEDY}")


def _escaped(limits: Limits) -> str:
    """What a program could do that it must not; empty if nothing."""
    marker = f"prunescope-{secrets.token_hex(8)}"
    with (
        tempfile.NamedTemporaryFile() as secret,
        _listening(socket.AF_INET, ("127.0.0.1", 0)) as network,
        _listening(socket.AF_UNIX, f"\0{marker}") as local,
    ):
        machine = escapes.Machine(
            process=os.getpid(),
            port=network.getsockname()[1],
            socket_name=local.getsockname().decode(),
            environment=list(jail.environment()),
            hidden=[secret.name, __file__, *_private()],
            marker=marker,
            folders=[
                "/",
                "/usr",
                "/etc",
                "/dev",
                "/var/tmp",  # noqa: S108
                tempfile.gettempdir(),
                str(Path.home()),
            ],
            memory_bytes=limits.memory_mb << 20,
            file_bytes=(SCRATCH_MB << 20) + 1,
            processes=limits.processes + 1,
        )
        source = Path(escapes.__file__).read_text(encoding="utf-8")
        outcome = run(
            f"{source}\nassert not (found := tried(Machine(*{tuple(machine)!r}))), found", limits
        )
        written = [file for folder in machine.folders if (file := Path(folder) / marker).exists()]
    for file in written:
        file.unlink()
    return ", ".join([outcome.reason, *(f"it wrote {file}" for file in written)]).strip(", ")


@contextlib.contextmanager
def _listening(
    family: socket.AddressFamily, address: tuple[str, int] | str
) -> Iterator[socket.socket]:
    """A socket of the machine that no program should reach."""
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        yield server


def _private() -> list[str]:
    """What lies in the home folder, except on the way to the interpreter."""
    shown = _readable(_interpreter())
    entries = [entry for entry in Path.home().iterdir() if not entry.is_symlink()]
    return [
        str(entry)
        for entry in entries
        if not any(Path(each).is_relative_to(entry) for each in shown)
    ]
