"""A Slurm cluster on the loopback interface of one machine, for as long as a test needs it.

By hand, as root: `python tests/cluster/loopback.py up FOLDER CPUS:MEMORY_MB[:GPUS] ...` prints the
state of the nodes, and `python tests/cluster/loopback.py down FOLDER` ends every daemon. All files
are below FOLDER but one: /etc/slurm/slurm.conf is a link to it, because the executor plugin takes
SLURM_CONF away from what runs inside a job.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "scancel")
LINK = Path("/etc/slurm/slurm.conf")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SwitchType=switch/none
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=300
KillWait=2
GresTypes=gpu
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
"""


class Node(NamedTuple):
    """What one node pretends to have."""

    cpus: int
    memory_mb: int
    gpus: int = 0


def missing() -> str:
    """Why no cluster can be started here; empty if one can."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    if absent:
        return f"Slurm is not installed: there is no {', '.join(absent)}"
    if os.geteuid() != 0:
        return "only root can start slurmd"
    return f"{LINK} is there: this machine has a Slurm" if os.path.lexists(LINK) else ""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _run(*command: str) -> str:
    run = subprocess.run(
        command,
        env={**os.environ, "PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {run.stdout}{run.stderr}")
    return run.stdout


def _write_conf(folder: Path, nodes: list[Node], minutes: int) -> Path:
    """slurm.conf, gres.conf and cgroup.conf; a GPU is a device file that is none."""
    host = socket.gethostname().split(".")[0]
    control, *ports = _free_ports(len(nodes) + 1)
    conf = CONF.format(host=host, port=control, folder=folder)
    gres = ""
    for number, (node, port) in enumerate(zip(nodes, ports, strict=True), start=1):
        conf += (
            f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={node.cpus} RealMemory={node.memory_mb}"
        )
        conf += f" Gres=gpu:{node.gpus}\n" if node.gpus else "\n"
        for device in range(node.gpus):
            file = folder / f"gpu-{number}-{device}"
            os.mknod(file, 0o20666, os.makedev(1, 3))
            gres += f"NodeName=n{number} Name=gpu File={file}\n"
    plain = [f"n{number}" for number, node in enumerate(nodes, start=1) if not node.gpus]
    every = [f"n{number}" for number in range(1, len(nodes) + 1)]
    conf += f"PartitionName=main Nodes={','.join(plain or every)} Default=YES MaxTime={minutes}\n"
    if plain and len(plain) < len(every):
        rest = ",".join(name for name in every if name not in plain)
        conf += f"PartitionName=accelerated Nodes={rest} MaxTime={minutes}\n"
    (folder / "gres.conf").write_text(gres, encoding="utf-8")
    (folder / "cgroup.conf").write_text("CgroupAutomount=no\n", encoding="utf-8")
    file = folder / "slurm.conf"
    file.write_text(conf, encoding="utf-8")
    return file


def up(folder: Path, nodes: list[Node], minutes: int = 30) -> None:
    """Start munged, slurmctld and one slurmd per node, and wait until every node is idle."""
    for name in ("", "state", *(f"spool-n{number}" for number in range(1, len(nodes) + 1))):
        (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    conf = str(_write_conf(folder, nodes, minutes))
    LINK.parent.mkdir(parents=True, exist_ok=True)
    LINK.symlink_to(conf)
    files = {"socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    files |= {"key-file": "munge.key", "seed-file": "munge.seed"}
    try:
        _run("munged", "--force", *(f"--{key}={folder / name}" for key, name in files.items()))
        _run("slurmctld", "-f", conf)
        for number in range(1, len(nodes) + 1):
            _run("slurmd", "-f", conf, "-N", f"n{number}")
        _wait_until_idle(len(nodes))
    except BaseException:
        down(folder)
        raise


def _wait_until_idle(n_nodes: int) -> None:
    for _ in range(60):
        with contextlib.suppress(RuntimeError):  # the controller may still be starting
            idle = _run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()
            if len(set(idle)) == n_nodes:
                return
        time.sleep(0.5)
    raise RuntimeError(_run("sinfo", "-N", "-l"))


def down(folder: Path) -> None:
    """End what `up` started, nodes first, each daemon by the process id that it wrote down."""
    names = [*sorted(folder.glob("slurmd-*.pid")), folder / "slurmctld.pid", folder / "munged.pid"]
    for file in names:
        if file.is_file() and file.read_text().strip():
            with contextlib.suppress(ProcessLookupError):
                _end(int(file.read_text()))
    if LINK.is_symlink() and LINK.readlink() == folder / "slurm.conf":
        LINK.unlink()


def _end(process: int) -> None:
    os.kill(process, signal.SIGTERM)
    for _ in range(100):
        os.kill(process, 0)  # ProcessLookupError once it is gone
        time.sleep(0.1)
    os.kill(process, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("nodes", nargs="*", help="CPUS:MEMORY_MB[:GPUS] of each node")
    parser.add_argument("--minutes", type=int, default=30, help="longest job")
    arguments = parser.parse_args()
    if arguments.action == "down":
        down(arguments.folder.resolve())
        return
    if reason := missing():
        parser.error(reason)
    nodes = [Node(*map(int, text.split(":"))) for text in arguments.nodes]
    up(arguments.folder.resolve(), nodes, arguments.minutes)
    print(_run("sinfo", "-N", "-l"))


if __name__ == "__main__":
    main()
