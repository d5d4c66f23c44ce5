"""Run and judge programs that a model wrote, in a sandbox.

A program has no network, can write only to a scratch folder, has limited time, memory, processes
and output, and leaves nothing behind. jail.py builds the sandbox from Linux namespaces (processes,
mounts, network, IPC, users), a filter of system calls, a user id without rights, and resource
limits. Root can always set it up; other users need the right to make user namespaces. A program and
its tests run in separate sandboxes and communicate through a pipe, both ends of which are in
exchange.py. Before the first program of a job is run, `prove` tries to escape from the sandbox.
docs/sandbox.md describes what is protected, how, and the known limits.
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
"""Size of the scratch folder and of any one file, in MB."""

_GRACE_SECONDS = 20.0
"""Time for starting and ending three processes on a busy machine, in addition to the limit."""
_TESTS_SECONDS = 1.0
"""Time that tests have in addition to the program's, so that the program times out first."""
_MAX_REASON_CHARACTERS = 200
_MAX_VERDICT_BYTES = 8192
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")
"""Files and folders of the system that an interpreter needs, if they exist."""
_REMEDY = (
    "Set `benchmarks.run_code: false`, or let this user make namespaces: in a container, start it "
    "with CAP_SYS_ADMIN; elsewhere, set user.max_user_namespaces above 0 and, on Ubuntu, "
    "kernel.apparmor_restrict_unprivileged_userns to 0."
)


class SandboxError(JobError):
    """The sandbox could not be set up or leaks, so no program is run in it."""


class Limits(NamedTuple):
    """Limits of one program. Its total memory is at most memory_mb · processes + SCRATCH_MB."""

    seconds: float = 5.0
    """Wall-clock time."""
    memory_mb: int = 512
    """Address space of each process."""
    processes: int = 4
    """Number of processes and threads at the same time."""
    output_kb: int = 1024
    """Standard output and standard error together; the output is discarded."""


class Outcome(NamedTuple):
    """How a program and its tests ended."""

    passed: bool
    """Whether the tests ran to their end without an error."""
    reason: str
    """Empty, "timed out", "killed: ...", or the error raised, as one line of limited length."""


class _Jail(NamedTuple):
    """A running sandbox."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    """Standard error of the launcher, which says what could not be set up."""


class _Observation(NamedTuple):
    """What the starter observed until the last process inside had ended."""

    verdict: bytes
    n_bytes: int
    """Number of bytes of output."""
    on_time: bool
    """Whether the sandboxes ended before the deadline."""


def run(program: str, tests: str, limits: Limits = Limits()) -> Outcome:  # noqa: B008 - immutable
    """Judge one Python program by tests; afterwards nothing is left of either.

    Program and tests run in separate sandboxes, with the standard library only, and communicate
    through a pipe (exchange.py). What the program does to its own interpreter therefore cannot
    influence the verdict. Empty tests request nothing: a program that runs to its end passes them.

    Parameters
    ----------
    program : the text of the untrusted program.
    tests : code that uses functions of the program and raises an error if they are wrong.
    limits : limits that apply to the program and to the tests separately.

    Raises
    ------
    SandboxError
        if the sandbox cannot be set up; the program was not run.
    """
    try:
        names = names_of(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Outcome(False, _one_line(f"the tests are not Python: {error}"))
    judge_task = exchange.JudgeTask(tests, *names)
    serve_tasks = [exchange.ServeTask(program, [])]
    if names.helpers:
        serve_tasks.append(exchange.ServeTask(program, names.program))
    with contextlib.ExitStack() as starter_files, contextlib.ExitStack() as jail_files:
        verdict_read, verdict_write = _pipe(starter_files, jail_files)
        output_read, output_write = _pipe(starter_files, jail_files)
        files, jails = [verdict_write], []
        for task in serve_tasks:
            request_read, request_write = _pipe(jail_files, jail_files)
            reply_read, reply_write = _pipe(jail_files, jail_files)
            files += [request_write, reply_read]
            jails.append(
                _start(task, [request_read, reply_write], output_write, limits, starter_files)
            )
        tests_limits = limits._replace(seconds=limits.seconds + _TESTS_SECONDS)
        jails.append(_start(judge_task, files, output_write, tests_limits, starter_files))
        jail_files.close()
        observation = _listen(jails, verdict_read, output_read, limits)
        for running in jails:
            running.process.wait()
        return _outcome(jails, observation, limits)


def _pipe(read_by: contextlib.ExitStack, written_by: contextlib.ExitStack) -> tuple[int, int]:
    """Both ends of a new pipe, each of which is closed together with its owner."""
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
    """Start a sandbox.

    Parameters
    ----------
    task : the task of the worker inside.
    files : file descriptors to hand to the worker, which finds them as 4, 5, ...
    output : file descriptor that receives standard output and standard error of the worker.
    limits : limits of the worker.
    owner : closes the files of the sandbox and waits for its end.
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - its owner closes it
    owner.callback(errors.close)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", jail.__file__],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        pass_fds=files,
        start_new_session=True,
        cwd="/",
        env=jail.environment(),
    )
    assert process.stdin is not None
    owner.callback(process.wait)
    owner.callback(process.stdin.close)
    with contextlib.suppress(BrokenPipeError):  # it has ended; its exit status says why
        process.stdin.write(_start_message(task, files, limits))
        process.stdin.flush()
    return _Jail(process, errors)


def _start_message(
    task: exchange.ServeTask | exchange.JudgeTask, files: list[int], limits: Limits
) -> bytes:
    """The message that jail.py reads first: eight bytes of length, then a Start as JSON."""
    interpreter = _interpreter()
    start = jail.Start(
        code=_compiled_exchange(),
        task=json.dumps(task._asdict()),
        files=files,
        interpreter=str(interpreter),
        readable=_readable_paths(interpreter),
        seconds=limits.seconds,
        memory_bytes=limits.memory_mb << 20,
        processes=limits.processes,
        scratch_bytes=SCRATCH_MB << 20,
    )
    text = json.dumps(start._asdict()).encode()
    return len(text).to_bytes(8, "big") + text


@functools.cache
def _compiled_exchange() -> str:
    """exchange.py, compiled once because compiling would take each sandbox 10 ms."""
    source = Path(exchange.__file__).read_text(encoding="utf-8")
    code = marshal.dumps(compile(source, "<exchange>", "exec", dont_inherit=True))
    return base64.b64encode(code).decode()


def _interpreter() -> Path:
    """The Python interpreter of this process; in a virtual environment, the one it is made from."""
    return Path(sys._base_executable).resolve()  # type: ignore[attr-defined]


def _readable_paths(interpreter: Path) -> list[str]:
    """Paths that a program may read: system libraries and Python itself, none below another."""
    python_folders = [sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib")]
    folders = [interpreter.parent, *(Path(folder).resolve() for folder in python_folders)]
    for home in _home_folders():
        if any(home.is_relative_to(folder) for folder in folders):
            raise SandboxError(
                f"the sandbox would make the home folder {home} readable, because this Python is "
                f"installed in {sys.base_prefix}. Use another Python, or set "
                "`benchmarks.run_code: false`."
            )
    shown = [Path(folder) for folder in _SYSTEM if Path(folder).exists()]
    for folder in sorted(set(folders)):
        if not any(folder.is_relative_to(other.resolve()) for other in shown):
            shown.append(folder)
    return [str(folder) for folder in shown]


def _home_folders() -> list[Path]:
    """Home folders of this user, according to HOME and to the machine's user database.

    In containers and services, HOME may be missing, empty or a folder of the system, which holds
    nothing private; such a HOME is left out.
    """
    candidates = [os.environ.get("HOME", "")]
    with contextlib.suppress(KeyError):  # a user id without a name
        candidates.append(pwd.getpwuid(os.getuid()).pw_dir)
    homes = {Path(name).resolve() for name in candidates if Path(name).is_absolute()}
    system_folders = {Path("/"), *(Path(folder).resolve() for folder in _SYSTEM)}
    return sorted(home for home in homes if home.is_dir() and home not in system_folders)


def _listen(jails: list[_Jail], verdict_file: int, output: int, limits: Limits) -> _Observation:
    """Wait for the verdict and count the output until every process inside has ended.

    Parameters
    ----------
    jails : the running sandboxes.
    verdict_file : file descriptor from which the verdict is read.
    output : file descriptor from which the output of all sandboxes is read.
    limits : limits of the program.
    """
    deadline = time.monotonic() + limits.seconds + _GRACE_SECONDS
    verdict, n_bytes, on_time = b"", 0, True
    with selectors.DefaultSelector() as files:
        files.register(output, selectors.EVENT_READ)
        files.register(verdict_file, selectors.EVENT_READ)
        while files.get_map():
            on_time = on_time and time.monotonic() < deadline
            verdict_complete = verdict_file not in files.get_map()
            if verdict_complete or not on_time or n_bytes > limits.output_kb * 1024:
                _end_jails(jails)
            for key, _ in files.select(timeout=1.0):
                part = os.read(key.fd, 1 << 16)
                if key.fd == verdict_file:
                    verdict = (verdict + part)[:_MAX_VERDICT_BYTES]
                else:
                    n_bytes += len(part)
                if not part:
                    files.unregister(key.fileobj)
    _end_jails(jails)
    return _Observation(verdict, n_bytes, on_time)


def _end_jails(jails: list[_Jail]) -> None:
    """End everything inside, by closing the standard input of the sandboxes."""
    for running in jails:
        assert running.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has already ended
            running.process.stdin.close()


def _outcome(jails: list[_Jail], observation: _Observation, limits: Limits) -> Outcome:
    """The outcome, given how the sandboxes ended; raises SandboxError if one was not set up."""
    statuses = [running.process.returncode for running in jails]
    for running, status in zip(jails, statuses, strict=True):
        if status not in (0, jail.TIMED_OUT) and 0 < status <= jail.KILLED:
            raise SandboxError(
                f"the sandbox cannot be built here: {_setup_error(running)}. {_REMEDY}"
            )
    passed, reason = _parse_verdict(observation.verdict)
    if observation.n_bytes > limits.output_kb * 1024:
        return Outcome(False, f"killed: more than {limits.output_kb} KB of output")
    if passed:
        return Outcome(True, "")
    if jail.TIMED_OUT in statuses or not observation.on_time:
        return Outcome(False, "timed out")
    if reason and reason != exchange.GONE:
        return Outcome(False, _one_line(reason))
    for status in statuses:
        if status < 0 or status > jail.KILLED:
            return Outcome(False, f"killed: {_describe_signal(abs(status) % jail.KILLED, limits)}")
    return Outcome(False, "killed: it ended its own process before its tests were done")


def _setup_error(failed: _Jail) -> str:
    """The last line in which the launcher of a sandbox says what it could not set up."""
    failed.errors.seek(0)
    text = failed.errors.read(2000).decode(errors="replace")
    return (text.strip().splitlines() or [f"exit status {failed.process.returncode}"])[-1]


def _parse_verdict(verdict_bytes: bytes) -> tuple[bool, str]:
    """Whether the tests passed, and the reason if not; empty if they never reached a verdict."""
    try:
        verdict = json.loads(verdict_bytes)
    except ValueError:
        return False, ""
    return verdict["passed"], verdict["reason"]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MAX_REASON_CHARACTERS]


def _describe_signal(number: int, limits: Limits) -> str:
    """The name of the signal that ended a program, and what usually causes it."""
    memory = f"it crashed, or needed more than its {limits.memory_mb} MB of address space"
    causes = {
        signal.SIGSEGV: memory,
        signal.SIGBUS: memory,
        signal.SIGABRT: memory,
        signal.SIGKILL: "by itself, or because the machine ran out of memory",
        signal.SIGXCPU: f"more than its {limits.seconds:g} s of processor time",
    }
    if number not in {signal_class.value for signal_class in signal.Signals}:
        return f"signal {number}"
    known_signal = signal.Signals(number)
    return (
        f"{known_signal.name} ({causes[known_signal]})"
        if known_signal in causes
        else known_signal.name
    )


def prove(limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
    """Try to escape and to fake a verdict, without doing harm; takes about two seconds.

    Raises
    ------
    SandboxError
        if any attempt succeeds, or the sandbox cannot be set up or does not work; the message says
        which.
    """
    flood = "import os\nwhile True: os.write(1, bytes(1 << 16))"
    too_much = f"killed: more than {limits.output_kb} KB of output"
    two, early = (
        "def two(): return 2",
        "killed: it ended its own process before its tests were done",
    )
    for case, program, tests, case_limits, reason in (
        ("a right answer", two, "assert two() == 2", limits, ""),
        ("a wrong answer", two, "assert two() == 3, 'two'", limits, "AssertionError: two"),
        ("an early end", "import os\nos._exit(0)", "assert two() == 2", limits, early),
        ("an endless loop", "while True: pass", "", limits._replace(seconds=1.0), "timed out"),
        ("endless output", flood, "", limits, too_much),
    ):
        outcome = run(program, tests, case_limits)
        if outcome.reason != reason:
            raise SandboxError(
                f"the sandbox ends {case} with {outcome.reason!r} instead of {reason!r}. {_REMEDY}"
            )
    if escaped := _find_escapes(limits):
        raise SandboxError(f"the sandbox leaks: {escaped}. {_REMEDY}")


def _find_escapes(limits: Limits) -> str:
    """What a program inside can do although it must not; empty if nothing."""
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
            hidden=[secret.name, __file__, *_private_entries()],
            marker=marker,
            folders=[
                "/",
                "/usr",
                "/etc",
                "/dev",
                "/var/tmp",  # noqa: S108
                tempfile.gettempdir(),
                *(str(home) for home in _home_folders()),
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
    """A listening socket of the machine that no program inside should reach."""
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        yield server


def _private_entries() -> list[str]:
    """Entries of the home folders, except those on the path to the interpreter."""
    readable = [Path(path) for path in _readable_paths(_interpreter())]
    return [
        str(entry)
        for home in _home_folders()
        if os.access(home, os.R_OK)
        for entry in home.iterdir()
        if not entry.is_symlink() and not any(path.is_relative_to(entry) for path in readable)
    ]
