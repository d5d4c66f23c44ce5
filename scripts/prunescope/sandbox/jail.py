"""A script that builds the sandbox around itself and then starts the untrusted program in it.

`starter.run` starts it as `python -I -S jail.py`, so it uses only the standard library. It consists
of three processes:

1. The launcher, outside, leaves the machine's namespaces and waits for process 1 to end.
2. Process 1 of the new process namespace builds the file system, starts the worker and enforces the
   time limit. When it ends, the kernel kills everything else in the sandbox.
3. The worker gives up all rights, limits itself, and becomes the program by `exec`.

Standard input first carries a `Start` message and then stays open. It closes when the starter
closes it or dies, and then process 1 ends. Standard output is that of the program; on standard
error, the launcher reports what it could not set up.

The order of the steps matters. The namespaces come first, because the other steps are only allowed
inside them. Process 1 builds the new root while it may still mount file systems. The worker gives
up its rights before it sets the limits, because some limits do not apply to root. The filter of
system calls comes last, because it forbids the calls that the earlier steps need. From then on the
worker can neither name nor reach anything that was not handed to it.
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
"""Exit status: the sandbox could not be set up, and nothing was run; see standard error."""

TIMED_OUT = 124
"""Exit status: process 1 ended the program at its time limit."""

KILLED = 128
"""Exit status: this plus the number of the signal that ended the program."""

_ENDING_MS = 100
"""Milliseconds that the worker has to end by itself once standard input is closed."""

SCRATCH = "/tmp"  # noqa: S108 - inside the sandbox, a separate and empty file system
"""The only folder to which a program can write."""

_RUNNER = (
    "import marshal, os; exec(marshal.loads(os.read(3, int.from_bytes(os.read(3, 8), 'big'))))"
)
"""The command given to the interpreter.

It reads a length and compiled code from file descriptor 3 and executes the code, which reads its
task from the rest of the file.
"""


class Start(NamedTuple):
    """The message of the starter: what to run, and what it may use."""

    code: str
    """Code that the worker executes: compiled by this Python, marshalled, in base 64."""
    task: str
    """Text that the code reads from the rest of file descriptor 3."""
    files: list[int]
    """File descriptors of the launcher that become 4, 5, ... in the worker."""
    interpreter: str
    """Path of the Python interpreter."""
    readable: list[str]
    """Files and folders of the machine that the program may read."""
    seconds: float
    """Limit of the wall-clock time."""
    memory_bytes: int
    """Limit of the address space of each process."""
    processes: int
    """Limit of the number of processes and threads."""
    scratch_bytes: int
    """Size of the scratch folder and of any one file."""


class SetupError(Exception):
    """A part of the sandbox could not be set up."""


# --- system calls that Python 3.11 does not offer -------------------------------------------

_LIBC = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWNS, _CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
_CLONE_OTHERS = 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x2000_0000 | 0x4000_0000
"""Flags of the namespaces of control groups, host name, IPC, processes and network."""

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
syslog             103  116
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
"""Names of system calls with their numbers on x86_64 and aarch64, as in asm/unistd.h.

A dash means that the processor has no such call. The calls before the empty line are used by this
script. Those after it are forbidden: they access other processes, make the kernel hold memory that
no limit counts, read the kernel's log, or make namespaces.
"""

_AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
"""Number by which a filter recognises each processor, in the order of the columns above."""


def _call_numbers() -> tuple[dict[str, int], dict[str, int]]:
    """Numbers on this machine of the system calls used here, and of those that are forbidden."""
    machine = os.uname().machine
    if machine not in _AUDIT:
        raise SetupError(
            f"the system calls of {machine} are not known, only those of {', '.join(_AUDIT)}"
        )
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


def _check(result: int, action: str) -> None:
    if result != 0:
        raise SetupError(f"{action}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, filesystem: str | None, flags: int, options: str = "") -> None:
    encoded = [
        None if argument is None else argument.encode() for argument in (source, target, filesystem)
    ]
    result = _LIBC.mount(*encoded, ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount {target}")


def _make_readonly(path: str, *, flags: int = 0, device: bool = False) -> None:
    """Make a mount read-only; with _AT_RECURSIVE also every mount below it (needs Linux 5.12).

    Parameters
    ----------
    path : where the file system is mounted.
    flags : 0 or _AT_RECURSIVE.
    device : whether it is a device, which must remain usable as such.
    """
    attributes = _ATTR_RDONLY | _ATTR_NOSUID | (0 if device else _ATTR_NODEV)
    settings = struct.pack("=QQQQ", attributes, 0, 0, 0)
    made, _ = _call_numbers()
    working_folder, size = -100, ctypes.c_size_t(len(settings))
    result = _LIBC.syscall(
        made["mount_setattr"], working_folder, path.encode(), flags, settings, size
    )
    _check(result, f"make {path} read-only (needs Linux 5.12)")


# --- parts of the sandbox -------------------------------------------------------------------


def enter_namespaces() -> int:
    """Leave every namespace of the machine; returns the user id that the program will have.

    Root will change to a user id without rights, because some limits do not apply to root. Any
    other user gets a user namespace and keeps the id.
    """
    if os.geteuid() == 0:
        _check(_LIBC.unshare(_CLONE_NEWNS | _CLONE_OTHERS), "unshare")
        _hide_host_name()
        return 61184 + os.getpid() % 4096  # systemd's range of transient ids, which own no files
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_OTHERS), "unshare")
    _hide_host_name()
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return user


def _hide_host_name() -> None:
    """Rename the host within the new namespace, which starts with the name of the machine."""
    _check(_LIBC.sethostname(b"sandbox", len(b"sandbox")), "sethostname")


def build_root(readable: list[str], scratch_bytes: int, owner: int) -> None:
    """Build a new root: libraries and interpreter read-only, a limited scratch folder, no /proc.

    Parameters
    ----------
    readable : files and folders of the machine to show at the same paths, read-only.
    scratch_bytes : size of the scratch folder.
    owner : user id that owns the scratch folder.
    """
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")  # noqa: S108
    Path("/tmp/old").mkdir()  # noqa: S108
    os.chdir("/tmp")  # noqa: S108
    made, _ = _call_numbers()
    _check(_LIBC.syscall(made["pivot_root"], b".", b"old"), "pivot_root")
    os.chdir("/")
    Path(SCRATCH).mkdir()
    options = f"size={scratch_bytes},nr_inodes=1000,mode=700,uid={owner},gid={_group_of(owner)}"
    _mount("tmpfs", SCRATCH, "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    for path in readable:  # after the scratch folder, because a path may be below it
        _bind_readonly(path)
    for device in ("null", "zero", "random", "urandom"):
        _bind_readonly(f"/dev/{device}", device=True)
    _check(_LIBC.umount2(b"/old", _MNT_DETACH), "umount the machine's files")
    Path("/old").rmdir()
    _make_readonly("/")
    os.chdir(SCRATCH)


def _group_of(owner: int) -> int:
    """The group of the program's user: if root chose the user id, the group of the same number."""
    return owner if os.geteuid() == 0 else os.getgid()


def _bind_readonly(path: str, *, device: bool = False) -> None:
    """Mount a file or folder of the machine at the same path of the new root, read-only."""
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
    """Become `user`, without any capability and without a way to gain one."""
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
    """Install a seccomp filter against the forbidden system calls and clones in new namespaces.

    The filter is a program of the kernel's packet filter: each instruction has an operation, the
    number of instructions to skip if a comparison holds and if it does not, and an operand.
    """
    made, forbidden = _call_numbers()
    load, jump_equal, jump_above, jump_bits, return_action = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, deny, unknown, kill = 0x7FFF_0000, 0x0005_0001, 0x0005_0026, 0x8000_0000
    call, processor, first_argument = 0, 4, 16
    instructions: list[tuple[int, int, int, int]] = [
        (load, 0, 0, processor),
        (jump_equal, 1, 0, _AUDIT[os.uname().machine]),
        (return_action, 0, 0, kill),
        (load, 0, 0, call),
        (jump_above, 0, 1, 0x4000_0000),  # x32, a second numbering of calls on x86_64
        (return_action, 0, 0, kill),
    ]
    for name, number in forbidden.items():
        # A filter cannot see the flags of clone3. If told that clone3 is unknown, libc uses clone.
        instructions += [
            (jump_equal, 0, 1, number),
            (return_action, 0, 0, unknown if name == "clone3" else deny),
        ]
    instructions += [
        (jump_equal, 0, 3, made["clone"]),
        (load, 0, 0, first_argument),
        (jump_bits, 0, 1, _CLONE_NEWNS | _CLONE_NEWUSER | _CLONE_OTHERS),
        (return_action, 0, 0, deny),
        (return_action, 0, 0, allow),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    code_buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HL", len(instructions), ctypes.addressof(code_buffer))
    _check(_LIBC.prctl(_PR_SET_SECCOMP, 2, program, 0, 0), "seccomp")


def limit(start: Start, *, uncounted: int) -> None:
    """Limit the resources of the worker and of each process it starts.

    Parameters
    ----------
    start : the message with the limits.
    uncounted : number of processes of the sandbox itself that the kernel counts for the same user.
    """
    seconds = int(start.seconds) + 1
    for limited, maximum in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, start.memory_bytes),
        (resource.RLIMIT_NPROC, start.processes + uncounted),
        (resource.RLIMIT_FSIZE, start.scratch_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (_RLIMIT_SIGPENDING, 64),  # timers and queued signals
        (resource.RLIMIT_CORE, 1),  # not 0: a core_pattern that pipes to a program respects only 1
    ):
        _, inherited = resource.getrlimit(limited)
        allowed = maximum if inherited == resource.RLIM_INFINITY else min(maximum, inherited)
        resource.setrlimit(limited, (allowed, allowed))


# --- the three processes --------------------------------------------------------------------


def launch(start: Start) -> int:
    """Set up the namespaces, start process 1 in them, and return its exit status."""
    Path("/proc/self/oom_score_adj").write_text("1000")  # the first to go if memory runs out
    is_root = os.geteuid() == 0
    user = enter_namespaces()
    child = os.fork()
    if child == 0:
        os._exit(_run_process_1(start, user, uncounted=0 if is_root else 2))
    _close(start.files)
    _, status = os.waitpid(child, 0)
    return _exit_status(status)


def _run_process_1(start: Start, user: int, *, uncounted: int) -> int:
    """Be process 1, and report failures to set up on the launcher's standard error."""
    try:
        return keep_time(start, user, uncounted=uncounted)
    except (OSError, SetupError) as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        return NOT_SET_UP


def keep_time(start: Start, user: int, *, uncounted: int) -> int:
    """Be process 1: start the worker, and end with it, at the time limit, or with the starter.

    Parameters
    ----------
    start : the message of the starter.
    user : user id that the worker will have.
    uncounted : as in `limit`.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # process 1 then ignores it: it has no handler
    build_root(start.readable, start.scratch_bytes, user)
    failure_read, failure_end = os.pipe()
    failure_write = _move_above_9(failure_end)
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
        failure = failures.read()  # returns when the program starts, as exec closes the other end
    if failure:
        raise SetupError(failure.decode())
    return _wait_for_end(worker, start.seconds)


def _wait_for_end(worker: int, seconds: float) -> int:
    """Wait until the worker ends, the time limit is reached, or standard input is closed."""
    handle = os.pidfd_open(worker)
    events = select.poll()
    events.register(handle, select.POLLIN)
    events.register(0, select.POLLHUP)
    ready = dict(events.poll(seconds * 1000))
    if not ready:
        return TIMED_OUT
    events.unregister(0)
    if not events.poll(_ENDING_MS):  # the files of an ending worker close before it has ended
        return 0
    _, status = os.waitpid(worker, 0)
    return _exit_status(status) if os.WIFSIGNALED(status) else 0


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return KILLED - code if code < 0 else code


def become_program(start: Start, user: int, *, uncounted: int) -> NoReturn:
    """Give up all rights and become the interpreter that executes the code of the message.

    File descriptors: 0 is empty, 1 and 2 are the counted output, 3 holds code and task, and those
    from 4 on are the ones handed over.

    Parameters
    ----------
    start : the message of the starter.
    user : user id to change to.
    uncounted : as in `limit`.
    """
    os.setsid()
    task = os.memfd_create("task")
    with os.fdopen(os.dup(task), "wb") as file:
        code = base64.b64decode(start.code)
        file.write(len(code).to_bytes(8, "big") + code + start.task.encode())
    os.lseek(task, 0, os.SEEK_SET)
    empty_input = os.open("/dev/null", os.O_RDONLY)
    sources = [_move_above_9(file) for file in (empty_input, task, *start.files)]
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


def _move_above_9(file: int) -> int:
    """Move a file descriptor to a number from 10 on, which exec closes, freeing the old number."""
    moved = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(file)
    return moved


def environment() -> dict[str, str]:
    """The environment of a program, with a fixed hash seed so that sets always have one order."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def receive() -> Start:
    """Read the Start message from standard input: eight bytes of length, then JSON."""
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
