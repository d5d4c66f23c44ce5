"""Hostile programs change nothing outside the sandbox, and a missing barrier is detected."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prunescope.paths import SCRIPTS
from prunescope.sandbox import jail, starter
from prunescope.sandbox.starter import Limits, Outcome, SandboxError

QUICK, PATIENT = Limits(seconds=1.0), Limits(seconds=60.0)
"""What ends by time; what ends by another limit first, on a busy machine too."""


pytestmark = pytest.mark.usefixtures("proven")

EARLY = "killed: it ended its own process before its tests were done"
SUM = {
    "prompt": 'def total(numbers):\n    """Sum of the numbers."""\n',
    "canonical_solution": "    return sum(numbers)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n",
    "entry_point": "total",
}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (SUM["canonical_solution"], None),
        ("    return len(numbers)\n", "AssertionError"),
        ("    return sum(numbers\n", "SyntaxError: "),
        ("    exit(0)\n", "NameError: "),
        ("    import os; os._exit(0)\n", EARLY),
        ("    import os; os._exit(125)\n", EARLY),
        ("    import os; os._exit(200)\n", EARLY),
        ("    import sys; sys.exit(0)\n", "SystemExit: 0"),
        (
            "    import os\n    if os.fork(): os.abort()\n    return sum(numbers)\n",
            "killed: SIGABRT",
        ),
    ],
)
def test_only_a_right_answer_passes(body, reason):
    """With columns of HumanEval; an answer that exits early, or passes only in a fork, is wrong."""
    outcome = starter.run(SUM["prompt"] + body, f"{SUM['test']}\ncheck({SUM['entry_point']})\n")
    assert outcome.passed == (reason is None)
    assert outcome.reason.startswith(reason or "")


DEEP = (
    "import sys\nsys.setrecursionlimit(10**9)\n"
    "class Deep:\n    def __getattr__(self, name): return getattr(self, name + 'a')\n"
    "Deep().a"
)
"""A stack that grows until there is no more room for it."""

CRASH = "killed: SIGSEGV (it crashed, or needed more than its 512 MB of address space)"
CATCH_ALL = "while True:\n    try:\n        {}\n    except OSError:\n        pass\n"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("while True: pass", "timed out"),
        ("import os\nwhile True: os.fork()", "BlockingIOError"),
        ("import os\n" + CATCH_ALL.format("os.fork()"), "timed out"),
        ("import sys\nfor _ in range(10**6): sys.stdout.write('x' * 10**4)", "killed: more than"),
        ("import os\nwhile True: os.write(2, bytes(1 << 16))", "killed: more than"),
        ("import os\nwhile True: os.write(5, bytes(1 << 16))", "the program's answer cannot"),
        ("import os\nos.kill(-1, 9)\nassert False, 'alone'", "ProcessLookupError"),
        ("import os\nos.fork()\nos.kill(-1, 9)\nassert False, 'alone'", ""),
        ("import os\nos.killpg(0, 9)", "killed: SIGKILL"),
        (
            "import os\nassert os.system('rm -rf --no-preserve-root /usr/lib 2> /dev/null') == 0",
            "A",
        ),
        ("import shutil\nshutil.rmtree('/')", "OSError: [Errno 30]"),
        ("import os\nos.listdir(" + repr(str(Path(__file__).parent)) + ")", "FileNotFoundError"),
        ("open('/proc/1/environ')", "FileNotFoundError"),
        ("file = open('a', 'wb')\nwhile True: file.write(bytes(1 << 20))", "OSError: [Errno 27]"),
        ("for i in range(99): open(str(i), 'wb').write(bytes(1 << 20))", "OSError: [Errno 28]"),
        ("for i in range(9999): open(str(i), 'wb')", "OSError: [Errno 28]"),
        ("held = []\nwhile True: held.append(bytearray(1 << 20))", "MemoryError"),
        ("import ctypes\nctypes.string_at(0)", CRASH),
        (DEEP, CRASH),
        ("import socket\nsocket.create_connection(('127.0.0.1', 80))", "PermissionError"),
        ("import socket\nsocket.socket(40, socket.SOCK_STREAM)", "PermissionError"),  # AF_VSOCK
        ("import os\nos.memfd_create('held')", "PermissionError"),
        ("import socket\nsocket.socket(socket.AF_UNIX)", "PermissionError"),
        ("import socket\nsocket.socketpair()", "PermissionError"),
        *(
            (
                f"import ctypes\nassert ctypes.CDLL(None).{call} >= 0, 'refused'",
                "AssertionError: refused",
            )
            for call in (
                "shmget(0, 1 << 20, 0o1600)",
                "semget(0, 32000, 0o1600)",
                "msgget(0, 0o1600)",
                "inotify_init1(0)",
                "klogctl(3, bytes(4096), 4096)",  # readable by anyone where dmesg_restrict is 0
            )
        ),
        ("import os\nassert os.uname().nodename != 'sandbox', 'hidden'", "AssertionError: hidden"),
        ("import signal\n" + CATCH_ALL.format("signal.sigwait(range(1, 64))"), "timed out"),
        ("raise ValueError('long\\n' * 10**6)", "ValueError: long long"),
        ("class E(Exception):\n    __str__ = None\nraise E", "E"),
        ("\ud800 = 1", "UnicodeEncodeError"),
    ],
)
def test_hostile_programs_are_wrong_and_the_next_program_runs(program, reason):
    outcome = starter.run(program, "", QUICK if reason == "timed out" else PATIENT)
    assert not outcome.passed
    assert outcome.reason.startswith(reason)
    assert len(outcome.reason) <= 200
    assert "\n" not in outcome.reason
    assert starter.run("assert True", "").passed


def test_daemons_end_with_their_program():
    """Process 1 of the namespace ends, so run returns although a daemon keeps its output open."""
    daemon = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: time.sleep(1000)\n"
        "    os._exit(0)\n"
    )
    before = _children(os.getpid())
    assert starter.run(daemon, "").passed
    assert _children(os.getpid()) == before


def test_programs_end_with_a_killed_starter():
    loop = "starter.run('while True: pass', '', starter.Limits(seconds=600))"
    command = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        f"from prunescope.sandbox import starter\n{loop}"
    )
    with subprocess.Popen([sys.executable, "-c", command]) as starter:
        _wait(lambda: len(_children(starter.pid)) == 6)  # launcher, process 1, worker, twice
        inside = _children(starter.pid)
        starter.send_signal(signal.SIGKILL)
    _wait(lambda: not any(Path(f"/proc/{process}").exists() for process in inside))


def test_programs_run_in_parallel():
    """Each has its own limits: four that use all their processes do not starve each other."""
    program = (
        "import threading, time\n"
        "for _ in range(3): threading.Thread(target=time.sleep, args=[0.3]).start()"
    )
    with ThreadPoolExecutor(4) as pool:
        assert all(outcome.passed for outcome in pool.map(starter.run, [program] * 4, [""] * 4))


def test_the_order_of_sets_is_reproducible():
    """All programs have the same hash seed, so that results do not change between runs."""
    program = "raise ValueError(list({'a', 'b', 'c', 'd', 'e'}))"
    assert len({starter.run(program, "").reason for _ in range(4)}) == 1


@pytest.mark.parametrize(
    ("wall", "leak"),
    [
        ("    forbid_calls()\n", "it makes namespaces"),
        ("    limit(start, uncounted=uncounted)\n", "its memory has no bound"),
        ("semget              64  190\n", "it makes semaphores"),
        ("socketpair          53  199\n", "it makes sockets"),
    ],
)
def test_a_missing_barrier_is_detected(tmp_path, monkeypatch, wall, leak):
    """`prove` names the leak of a jail without one of its barriers."""
    _replace_in_jail(monkeypatch, tmp_path, wall, "")
    with pytest.raises(SandboxError, match=leak):
        starter.prove()


def test_visible_files_of_the_machine_are_detected(monkeypatch):
    """A checkout that the program can read is a leak."""
    monkeypatch.setattr(starter, "_SYSTEM", (*starter._SYSTEM, str(SCRIPTS)))
    with pytest.raises(SandboxError, match=re.escape(f"it sees {starter.__file__}")):
        starter.prove()


def test_a_file_written_outside_is_detected_and_removed(tmp_path, monkeypatch):
    """A folder that is writable for everyone is mounted without read-only protection."""
    monkeypatch.setattr(starter, "_SYSTEM", (*starter._SYSTEM, "/var/tmp"))
    wall = "    _make_readonly(path, flags=_AT_RECURSIVE, device=device)\n"
    _replace_in_jail(monkeypatch, tmp_path, wall, "")
    before = set(Path("/var/tmp").iterdir())
    with pytest.raises(SandboxError, match="it wrote /var/tmp/prunescope-"):
        starter.prove()
    assert set(Path("/var/tmp").iterdir()) == before


def test_an_incomplete_sandbox_is_refused(tmp_path, monkeypatch):
    """If a system call fails, that is an error and not a wrong answer."""
    _replace_in_jail(monkeypatch, tmp_path, 'f"size={scratch', 'f"nonsense={scratch')
    with pytest.raises(SandboxError, match=r"mount /tmp: Invalid argument.*run_code: false"):
        starter.run("assert True", "")


@pytest.mark.parametrize("home", ["/", "", "relative", "/nowhere", "/usr", None])
def test_verification_does_not_depend_on_home(monkeypatch, home):
    """As in a container or a service; the real home folder of the user remains hidden."""
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    starter.prove()


def test_needed_folders_below_scratch_are_visible(monkeypatch):
    """For instance an interpreter or a checkout below /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        file = Path(folder, "shown")
        file.write_text("seen")
        Path(folder).chmod(0o755)
        monkeypatch.setattr(starter, "_SYSTEM", (*starter._SYSTEM, folder))
        program = f"open('/tmp/own', 'w').write('own')\ntext = open({str(file)!r}).read()"
        assert starter.run(program, "assert text == 'seen'") == Outcome(True, "")
        assert "OSError" in starter.run(f"open({str(file)!r}, 'w')", "").reason


def _replace_in_jail(monkeypatch, folder, old, new):
    """Let sandbox start a jail that differs from ours in one place."""
    source = Path(jail.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1
    broken = folder / "jail.py"
    broken.write_text(source.replace(old, new), encoding="utf-8")
    monkeypatch.setattr(jail, "__file__", str(broken))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a capability to give up")
def test_error_explains_missing_rights_to_namespaces(tmp_path):
    """As in a container, with root but without CAP_SYS_ADMIN."""
    command = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from prunescope.sandbox import starter\n"
        "starter.prove()"
    )
    drop = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 21, 0, 0, 0);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    found = subprocess.run(
        [sys.executable, "-c", drop, sys.executable, "-c", command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert "unshare: Operation not permitted. Set `benchmarks.run_code: false`" in found.stderr


def _children(process):
    """Process ids below one process, from the parents that /proc names."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process}


def _wait(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
