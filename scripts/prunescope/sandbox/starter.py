"""Judge programs that a model wrote: no network, only scratch to write, bounded, then gone.

Linux namespaces (processes, mounts, network, IPC, users), a filter of system calls, an id without
rights and process limits: jail.py builds them. Root needs nothing else; others need the right to
make user namespaces. A program and its tests have a sandbox each and talk through a pipe:
exchange.py holds both ends. `prove` tries to escape, and is asked before the first program is run.
docs/sandbox.md says what is defended, how, and what is left open.
"""

import base64
import contextlib
import functools
import json
import marshal
import os
import pwd
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
from typing import IO, NamedTuple

from prunescope.progress import JobError
from prunescope.sandbox import escapes, exchange, jail
from prunescope.sandbox.tested_names import names_of

SCRATCH_MB = 16
"""Space of the scratch folder, and the size of any one file."""

_GRACE_SECONDS = 20.0
"""Beyond the program's own time: the start and the end of three processes on a busy machine."""
_TESTS_SECONDS = 1.0
"""What tests have beyond their program, so that it is the program whose time is up."""
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
    """How a program and its tests ended."""

    passed: bool
    """The tests came to their end and raised nothing."""
    reason: str
    """Empty, "timed out", "killed: ...", or the error raised: one line of bounded length."""


class _Jail(NamedTuple):
    """One sandbox that runs."""

    process: subprocess.Popen[bytes]
    complaints: IO[bytes]


class _Heard(NamedTuple):
    """What reached the starter before the last process inside was gone."""

    verdict: bytes
    n_bytes: int
    on_time: bool


def run(program: str, tests: str, limits: Limits = Limits()) -> Outcome:  # noqa: B008 - immutable
    """Judge one Python program by tests; when it returns, nothing is left of either.

    Program and tests run in a sandbox each, on the standard library alone, and talk through a
    pipe (exchange.py): what the program does to its own interpreter does not reach the verdict.
    Tests that are empty ask nothing, so they believe the program that it came to its end.

    Parameters
    ----------
    program : the text to be judged; nobody vouches for it.
    tests : code that names functions of the program and raises an error where they are wrong.
    limits : what the program and the tests may each use.

    Raises
    ------
    SandboxError
        if a wall cannot be built; the program was not run.
    """
    try:
        names = names_of(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Outcome(False, _one_line(f"the tests are not Python: {error}"))
    judging = exchange.JudgeTask(tests, *names)
    serving = [exchange.ServeTask(program, [])]
    if names.helpers:
        serving.append(exchange.ServeTask(program, names.program))
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as handed_over:
        verdict_read, verdict_write = _pipe(ours, handed_over)
        output_read, output_write = _pipe(ours, handed_over)
        files, jails = [verdict_write], []
        for task in serving:
            request_read, request_write = _pipe(handed_over, handed_over)
            reply_read, reply_write = _pipe(handed_over, handed_over)
            files += [request_write, reply_read]
            jails.append(_start(task, [request_read, reply_write], output_write, limits, ours))
        patient = limits._replace(seconds=limits.seconds + _TESTS_SECONDS)
        jails.append(_start(judging, files, output_write, patient, ours))
        handed_over.close()
        heard = _listen(jails, verdict_read, output_read, limits)
        for each in jails:
            each.process.wait()
        return _outcome(jails, heard, limits)


def _pipe(read_by: contextlib.ExitStack, written_by: contextlib.ExitStack) -> tuple[int, int]:
    """Both ends of a new pipe, each closed with what owns it."""
    reading, writing = os.pipe()
    read_by.callback(os.close, reading)
    written_by.callback(os.close, writing)
    return reading, writing


def _start(
    task: exchange.ServeTask | exchange.JudgeTask,
    files: list[int],
    output: int,
    limits: Limits,
    owner: contextlib.ExitStack,
) -> _Jail:
    """Start a sandbox on a task, with the open files that it is handed."""
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - its owner closes it
    owner.callback(complaints.close)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", jail.__file__],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=complaints,
        pass_fds=files,
        start_new_session=True,
        cwd="/",
        env=jail.environment(),
    )
    assert process.stdin is not None
    owner.callback(process.wait)
    owner.callback(process.stdin.close)
    with contextlib.suppress(BrokenPipeError):  # then its exit status says why
        process.stdin.write(_message(task, files, limits))
        process.stdin.flush()
    return _Jail(process, complaints)


def _message(
    task: exchange.ServeTask | exchange.JudgeTask, files: list[int], limits: Limits
) -> bytes:
    """What the jailer waits for: length, then the Start in JSON."""
    interpreter = _interpreter()
    start = jail.Start(
        code=_compiled_exchange(),
        task=json.dumps(task._asdict()),
        files=files,
        interpreter=str(interpreter),
        readable=_readable(interpreter),
        seconds=limits.seconds,
        memory_bytes=limits.memory_mb << 20,
        processes=limits.processes,
        scratch_bytes=SCRATCH_MB << 20,
    )
    text = json.dumps(start._asdict()).encode()
    return len(text).to_bytes(8, "big") + text


@functools.cache
def _compiled_exchange() -> str:
    """Both ends of the pipe, compiled once: each sandbox would take 10 ms for it."""
    source = Path(exchange.__file__).read_text(encoding="utf-8")
    code = marshal.dumps(compile(source, "<exchange>", "exec", dont_inherit=True))
    return base64.b64encode(code).decode()


def _interpreter() -> Path:
    """The Python that runs this, behind any virtual environment."""
    return Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


def _readable(interpreter: Path) -> list[str]:
    """Places the program sees: system libraries and the interpreter's own, none inside another."""
    own = [sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib")]
    places = [interpreter.parent, *(Path(place).resolve() for place in own)]
    for home in _homes():
        if any(home.is_relative_to(place) for place in places):
            raise SandboxError(
                f"the sandbox would show the home folder {home}, for the Python that runs this "
                f"lies in {sys.base_prefix}. Use another Python, or set "
                "`benchmarks.run_code: false`."
            )
    shown = [Path(place) for place in _SYSTEM if Path(place).exists()]
    for place in sorted(set(places)):
        if not any(place.is_relative_to(other.resolve()) for other in shown):
            shown.append(place)
    return [str(place) for place in shown]


def _homes() -> list[Path]:
    """Home folders of this user: what HOME says, and what the machine knows.

    HOME may be missing, empty or a folder of the system, as in containers and services; such a
    folder holds nothing private.
    """
    named = [os.environ.get("HOME", "")]
    with contextlib.suppress(KeyError):  # a user id without a name
        named.append(pwd.getpwuid(os.getuid()).pw_dir)
    homes = {Path(name).resolve() for name in named if Path(name).is_absolute()}
    system = {Path("/"), *(Path(place).resolve() for place in _SYSTEM)}
    return sorted(home for home in homes if home.is_dir() and home not in system)


def _listen(jails: list[_Jail], verdict_file: int, output: int, limits: Limits) -> _Heard:
    """Wait for the verdict and count what is written until every process inside is gone."""
    deadline = time.monotonic() + limits.seconds + _GRACE_SECONDS
    verdict, n_bytes, on_time = b"", 0, True
    with selectors.DefaultSelector() as files:
        files.register(output, selectors.EVENT_READ)
        files.register(verdict_file, selectors.EVENT_READ)
        while files.get_map():
            on_time = on_time and time.monotonic() < deadline
            given = verdict_file not in files.get_map()
            if given or not on_time or n_bytes > limits.output_kb * 1024:
                _end(jails)
            for key, _ in files.select(timeout=1.0):
                part = os.read(key.fd, 1 << 16)
                if key.fd == verdict_file:
                    verdict = (verdict + part)[:_VERDICT_BYTES]
                else:
                    n_bytes += len(part)
                if not part:
                    files.unregister(key.fileobj)
    _end(jails)
    return _Heard(verdict, n_bytes, on_time)


def _end(jails: list[_Jail]) -> None:
    """Let everything inside die."""
    for each in jails:
        assert each.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died already
            each.process.stdin.close()


def _outcome(jails: list[_Jail], heard: _Heard, limits: Limits) -> Outcome:
    """How the jailers ended and what was heard, as an outcome; SandboxError where one failed."""
    statuses = [each.process.returncode for each in jails]
    for each, status in zip(jails, statuses, strict=True):
        if status not in (0, jail.TIMED_OUT) and 0 < status <= jail.KILLED:
            raise SandboxError(f"the sandbox cannot be built here: {_complaint(each)}. {_REMEDY}")
    passed, reason = _verdict(heard.verdict)
    if heard.n_bytes > limits.output_kb * 1024:
        return Outcome(False, f"killed: more than {limits.output_kb} KB of output")
    if passed:
        return Outcome(True, "")
    if jail.TIMED_OUT in statuses or not heard.on_time:
        return Outcome(False, "timed out")
    if reason and reason != exchange.GONE:
        return Outcome(False, _one_line(reason))
    for status in statuses:
        if status < 0 or status > jail.KILLED:
            return Outcome(False, f"killed: {_in_words(abs(status) % jail.KILLED, limits)}")
    return Outcome(False, "killed: it ended its own process before its tests were done")


def _complaint(jail_: _Jail) -> str:
    """The last line of what a jailer says it could not set up."""
    jail_.complaints.seek(0)
    text = jail_.complaints.read(2000).decode(errors="replace")
    return (text.strip().splitlines() or [f"exit status {jail_.process.returncode}"])[-1]


def _verdict(written: bytes) -> tuple[bool, str]:
    """Whether the tests passed, and why not; empty if they never came to a verdict."""
    try:
        verdict = json.loads(written)
    except ValueError:
        return False, ""
    return verdict["passed"], verdict["reason"]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_REASON_CHARACTERS]


def _in_words(number: int, limits: Limits) -> str:
    """A signal that ended a program, and what sends it."""
    memory = f"it crashed, or needed more than its {limits.memory_mb} MB of address space"
    causes = {
        signal.SIGSEGV: memory,
        signal.SIGBUS: memory,
        signal.SIGABRT: memory,
        signal.SIGKILL: "by itself, or because the machine ran out of memory",
        signal.SIGXCPU: f"more than its {limits.seconds:g} s of processor time",
    }
    if number not in {each.value for each in signal.Signals}:
        return f"signal {number}"
    known = signal.Signals(number)
    return f"{known.name} ({causes[known]})" if known in causes else known.name


def prove(limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
    """Try to escape and to fake a verdict, harmlessly; takes about two seconds.

    Raises
    ------
    SandboxError
        naming what escaped, what cannot be built here, or what does not run inside.
    """
    flood = "import os\nwhile True: os.write(1, bytes(1 << 16))"
    too_much = f"killed: more than {limits.output_kb} KB of output"
    two, early = (
        "def two(): return 2",
        "killed: it ended its own process before its tests were done",
    )
    for what, program, tests, given, reason in (
        ("a right answer", two, "assert two() == 2", limits, ""),
        ("a wrong answer", two, "assert two() == 3, 'two'", limits, "AssertionError: two"),
        ("an early end", "import os\nos._exit(0)", "assert two() == 2", limits, early),
        ("an endless loop", "while True: pass", "", limits._replace(seconds=1.0), "timed out"),
        ("endless output", flood, "", limits, too_much),
    ):
        outcome = run(program, tests, given)
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
                *(str(home) for home in _homes()),
            ],
            memory_bytes=limits.memory_mb << 20,
            file_bytes=(SCRATCH_MB << 20) + 1,
            processes=limits.processes + 1,
        )
        source = Path(escapes.__file__).read_text(encoding="utf-8")
        escape = f"{source}\ndef escape(): return tried(Machine(*{tuple(machine)!r}))\n"
        outcome = run(escape, "assert not (escaped := escape()), escaped", limits)
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
    """What lies in the home folders, except on the way to the interpreter."""
    shown = [Path(place) for place in _readable(_interpreter())]
    return [
        str(entry)
        for home in _homes()
        if os.access(home, os.R_OK)
        for entry in home.iterdir()
        if not entry.is_symlink() and not any(place.is_relative_to(entry) for place in shown)
    ]
