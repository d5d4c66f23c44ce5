"""The inside of the sandbox: a script that walls itself in, then starts the untrusted program.

Started by sandbox.run as `python -I -S jail.py`, standard library only. Three processes: the
launcher makes the namespaces; their process 1 keeps the time, and with it everything inside dies;
the worker gives up all rights and becomes the program. Standard input brings a Start and stays
open: once it closes, as it does when the starter dies, process 1 ends. Standard output is the
program's; standard error is the launcher's, for what it could not set up.

The order matters. Namespaces come first, because the rest is only allowed inside them; the new
root is built by process 1 while it may still mount; rights are given up before the limits, so
that the limits bind; the filter of system calls comes last, because it forbids what built the
walls. From then on the worker can neither name nor reach anything that was not handed to it.
"""

import base64
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import struct
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

NOT_SET_UP = 125
"""Exit status: the walls do not stand, nothing was run; the reason is on standard error."""
TIMED_OUT = 124
"""Exit status: process 1 ended the program at its time limit."""

KILLED = 128
"""Exit status: this and the number of the signal that ended the program."""

_ENDING_MS = 100
"""How long a worker whose starter wants no more of it may take to end by itself."""

SCRATCH = "/tmp"  # noqa: S108 - inside, an empty file system of the program's own
"""The one folder a program can write to."""


_RUNNER = (
    "import marshal, os; exec(marshal.loads(os.read(3, int.from_bytes(os.read(3, 8), 'big'))))"
)
"""What the interpreter is started on: length and code; the task is left in file 3."""


class Start(NamedTuple):
    """What the starter sends: what to run, what it may use, and where its interpreter lies."""

    code: str
    """What the worker executes: compiled by this Python, marshalled, in base 64."""
    task: str
    """What that reads from the rest of file 3."""
    files: list[int]
    """Open files of the launcher that the worker finds as 4, 5, ..."""
    interpreter: str
    readable: list[str]
    seconds: float
    memory_bytes: int
    processes: int
    scratch_bytes: int


class SetupError(Exception):
    """One wall could not be built."""


# --- the kernel's calls that Python 3.11 does not offer -------------------------------------

_LIBC = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWNS, _CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
_CLONE_OTHERS = 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x2000_0000 | 0x4000_0000
"""Namespaces of cgroup, host name, IPC, processes and network."""

_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_RECURSIVE, _MNT_DETACH = 0x8000, 2
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
_CAPABILITY_VERSION_3 = 0x2008_0522
_RLIMIT_SIGPENDING = 11


_CALLS = """
pivot_root         155   41
clone               56  220
mount_setattr      442  442

ptrace             101  117
process_vm_readv   310  270
process_vm_writev  311  271
kcmp               312  272
pidfd_getfd        438  438
perf_event_open    298  241
bpf                321  280
userfaultfd        323  282
io_uring_setup     425  425
socket              41  198
socketpair          53  199
shmget              29  194
semget              64  190
msgget              68  186
io_setup           206    0
inotify_init       253    -
inotify_init1      294   26
fanotify_init      300  262
landlock_create_ruleset 444 444
mq_open            240  180
memfd_create       319  279
memfd_secret       447  447
add_key            248  217
request_key        249  218
keyctl             250  219
unshare            272   97
setns              308  268
clone3             435  435
chroot             161   51
mount              165   40
umount2            166   39
open_tree          428  428
move_mount         429  429
fsopen             430  430
fsmount            432  432
open_by_handle_at  304  265
"""
"""System calls by name, with their numbers on x86_64 and aarch64 (asm/unistd.h; - where there is
none). Those after the empty line are forbidden: they reach into other processes, make the kernel
hold memory that no limit counts, or make namespaces."""

_AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
"""What a filter sees of the processor, in the columns' order."""


def _numbers() -> tuple[dict[str, int], dict[str, int]]:
    """Numbers on this machine of the calls we make, and of those that are forbidden."""
    machine = os.uname().machine
    if machine not in _AUDIT:
        raise SetupError(f"system calls of {machine} are not known, only of {', '.join(_AUDIT)}")
    column = 1 + list(_AUDIT).index(machine)
    made, forbidden = (
        {
            row.split()[0]: int(row.split()[column])
            for row in part.strip().splitlines()
            if row.split()[column] != "-"
        }
        for part in _CALLS.split("\n\n")
    )
    return made, forbidden


def _check(result: int, what: str) -> None:
    if result != 0:
        raise SetupError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    encoded = [None if each is None else each.encode() for each in (source, target, kind)]
    result = _LIBC.mount(*encoded, ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount {target}")


def _make_readonly(path: str, *, flags: int = 0, device: bool = False) -> None:
    """Mount attributes of `path`, with _AT_RECURSIVE of every mount below it (Linux 5.12)."""
    attributes = _ATTR_RDONLY | _ATTR_NOSUID | (0 if device else _ATTR_NODEV)
    settings = struct.pack("=QQQQ", attributes, 0, 0, 0)
    made, _ = _numbers()
    here, size = -100, ctypes.c_size_t(len(settings))
    result = _LIBC.syscall(made["mount_setattr"], here, path.encode(), flags, settings, size)
    _check(result, f"make {path} read-only (needs Linux 5.12)")


# --- walls ----------------------------------------------------------------------------------


def enter_namespaces() -> int:
    """Leave every namespace of the machine; the user id the program will have.

    Root changes to an id without rights, so that limits bind; anyone else gets a user namespace.
    """
    if os.geteuid() == 0:
        _check(_LIBC.unshare(_CLONE_NEWNS | _CLONE_OTHERS), "unshare")
        return 61184 + os.getpid() % 4096  # no file's owner: systemd's range of passing ids
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_OTHERS), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return user


def build_root(readable: list[str], scratch_bytes: int, owner: int) -> None:
    """A root of its own: system libraries and interpreter read-only, bounded scratch, no /proc."""
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")  # noqa: S108
    Path("/tmp/old").mkdir()  # noqa: S108
    os.chdir("/tmp")  # noqa: S108
    made, _ = _numbers()
    _check(_LIBC.syscall(made["pivot_root"], b".", b"old"), "pivot_root")
    os.chdir("/")
    Path(SCRATCH).mkdir()
    options = f"size={scratch_bytes},nr_inodes=1000,mode=700,uid={owner},gid={_group_of(owner)}"
    _mount("tmpfs", SCRATCH, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    for path in readable:  # after the scratch folder, for some may lie below it
        _show(path)
    for device in ("null", "zero", "random", "urandom"):
        _show(f"/dev/{device}", device=True)
    _check(_LIBC.umount2(b"/old", _MNT_DETACH), "umount the machine's files")
    Path("/old").rmdir()
    _make_readonly("/")
    os.chdir(SCRATCH)


def _group_of(owner: int) -> int:
    """The group that goes with the program's user: its own when root made it up."""
    return owner if os.geteuid() == 0 else os.getgid()


def _show(path: str, *, device: bool = False) -> None:
    """Bind a file or folder of the machine into the new root at the same place, read-only."""
    old, new = Path(f"/old{path}"), Path(path)
    new.parent.mkdir(parents=True, exist_ok=True)
    if old.is_symlink():
        new.symlink_to(old.readlink())
        return
    if old.is_dir():
        new.mkdir(exist_ok=True)
    else:
        new.touch()
    _mount(str(old), path, None, _MS_BIND | _MS_REC)
    _make_readonly(path, flags=_AT_RECURSIVE, device=device)


def give_up_rights(user: int) -> None:
    """Become `user` without any capability, and without a way to gain one."""
    capability = 0
    while _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header, nothing = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    _check(_LIBC.capset(header, nothing), "capset")
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def forbid_calls() -> None:
    """Filter system calls (seccomp): those of the table, and clones in new namespaces."""
    made, forbidden = _numbers()
    load, jump_equal, jump_above, jump_bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, unknown, kill = 0x7FFF_0000, 0x0005_0001, 0x0005_0026, 0x8000_0000
    call, processor, first_argument = 0, 4, 16
    lines: list[tuple[int, int, int, int]] = [
        (load, 0, 0, processor),
        (jump_equal, 1, 0, _AUDIT[os.uname().machine]),
        (answer, 0, 0, kill),
        (load, 0, 0, call),
        (jump_above, 0, 1, 0x4000_0000),  # x32, another numbering of x86_64
        (answer, 0, 0, kill),
    ]
    for name, number in forbidden.items():
        # clone3 keeps its flags where a filter cannot look: told it is unknown, libc uses clone.
        lines += [
            (jump_equal, 0, 1, number),
            (answer, 0, 0, unknown if name == "clone3" else refuse),
        ]
    lines += [
        (jump_equal, 0, 3, made["clone"]),
        (load, 0, 0, first_argument),
        (jump_bits, 0, 1, _CLONE_NEWNS | _CLONE_NEWUSER | _CLONE_OTHERS),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    kept = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HL", len(lines), ctypes.addressof(kept))
    _check(_LIBC.prctl(_PR_SET_SECCOMP, 2, program, 0, 0), "seccomp")


def limit(start: Start, *, uncounted: int) -> None:
    """Limits of the worker and of each process it starts; `uncounted` of its user are ours."""
    seconds = int(start.seconds) + 1
    for what, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, start.memory_bytes),
        (resource.RLIMIT_NPROC, start.processes + uncounted),
        (resource.RLIMIT_FSIZE, start.scratch_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (_RLIMIT_SIGPENDING, 64),  # timers and queued signals
        (resource.RLIMIT_CORE, 1),  # 1 and not 0: a core_pattern that is a program heeds only 1
    ):
        _, inherited = resource.getrlimit(what)
        allowed = most if inherited == resource.RLIM_INFINITY else min(most, inherited)
        resource.setrlimit(what, (allowed, allowed))


# --- the three processes --------------------------------------------------------------------


def launch(start: Start) -> int:
    """Build the walls, start process 1 behind them, and pass on how it ended."""
    Path("/proc/self/oom_score_adj").write_text("1000")  # short of memory, this goes first
    named_root = os.geteuid() == 0
    user = enter_namespaces()
    child = os.fork()
    if child == 0:
        os._exit(_guarded(start, user, uncounted=0 if named_root else 2))
    _close(start.files)
    _, status = os.waitpid(child, 0)
    return _exit_status(status)


def _guarded(start: Start, user: int, *, uncounted: int) -> int:
    """Process 1, its failures told as the launcher's."""
    try:
        return keep_time(start, user, uncounted=uncounted)
    except (OSError, SetupError) as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return NOT_SET_UP


def keep_time(start: Start, user: int, *, uncounted: int) -> int:
    """Be process 1: start the worker, end with it, at its time limit, or with the starter."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 gets no signal it does not handle
    build_root(start.readable, start.scratch_bytes, user)
    failure_read, low = os.pipe()
    failure_write = _moved_up(low)
    worker = os.fork()
    if worker == 0:
        os.close(failure_read)
        try:
            become_program(start, user, uncounted=uncounted)
        except (OSError, SetupError, ValueError) as error:
            os.write(failure_write, str(error).encode())
        finally:
            os._exit(NOT_SET_UP)
    os.close(failure_write)
    _close([1, *start.files])
    with os.fdopen(failure_read, "rb") as failures:
        failure = failures.read()  # ends when the program starts: exec closes the other end
    if failure:
        raise SetupError(failure.decode())
    return _outlast(worker, start.seconds)


def _outlast(worker: int, seconds: float) -> int:
    """Wait for the worker, the time limit, or the end of the starter."""
    handle = os.pidfd_open(worker)
    events = select.poll()
    events.register(handle, select.POLLIN)
    events.register(0, select.POLLHUP)
    happened = dict(events.poll(seconds * 1000))
    if not happened:
        return TIMED_OUT
    events.unregister(0)
    if not events.poll(_ENDING_MS):  # the worker may be ending, its files closed before itself
        return 0
    _, status = os.waitpid(worker, 0)
    return _exit_status(status) if os.WIFSIGNALED(status) else 0


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return KILLED - code if code < 0 else code


def become_program(start: Start, user: int, *, uncounted: int) -> NoReturn:
    """Give up everything and execute the interpreter on the source.

    Files: 0 empty, 1 and 2 the counted output, 3 the task, from 4 on those handed over.
    """
    os.setsid()
    task = os.memfd_create("task")
    with os.fdopen(os.dup(task), "wb") as file:
        code = base64.b64decode(start.code)
        file.write(len(code).to_bytes(8, "big") + code + start.task.encode())
    os.lseek(task, 0, os.SEEK_SET)
    nothing = os.open("/dev/null", os.O_RDONLY)
    sources = [_moved_up(file) for file in (nothing, task, *start.files)]
    for target, source in zip((0, 3, *range(4, 4 + len(start.files))), sources, strict=True):
        os.dup2(source, target)
    os.dup2(1, 2)
    give_up_rights(user)
    limit(start, uncounted=uncounted)
    forbid_calls()
    arguments = [start.interpreter, "-P", "-s", "-S", "-c", _RUNNER]
    os.execve(start.interpreter, arguments, environment())  # noqa: S606


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def _moved_up(file: int) -> int:
    """The open file under a number from 10 on, which exec closes; the old number is free."""
    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(file)
    return moved


def environment() -> dict[str, str]:
    """All a program finds in its environment; a fixed hash seed, so that sets keep their order."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def receive() -> Start:
    """Read the Start from standard input: eight bytes of length, then JSON."""
    length = int.from_bytes(_read_exactly(8), "big")
    return Start(**json.loads(_read_exactly(length)))


def _read_exactly(length: int) -> bytes:
    parts = []
    while length and (part := os.read(0, min(length, 1 << 16))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    try:
        sys.exit(launch(receive()))
    except (OSError, SetupError) as failure:
        sys.stderr.write(f"{failure}\n")
        sys.exit(NOT_SET_UP)
