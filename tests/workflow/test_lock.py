"""The lock excludes a second process, and ends with the first one, even if it is killed."""

import subprocess
import sys

import pytest

from prunescope.paths import SCRIPTS
from prunescope.workflow import lock

HOLD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from prunescope.workflow import lock;"
    "lock.hold(sys.argv[2]); print('held', flush=True); sys.stdin.read()"
)


def test_lock_is_held_until_its_process_is_killed(tmp_path):
    file = tmp_path / "new" / "lock"
    command = [sys.executable, "-c", HOLD, str(SCRIPTS), str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        for refused in (lock.hold, lock.check_free):
            with pytest.raises(lock.LockedError, match=f"process {other.pid} already runs"):
                refused(file)
        assert not lock.is_free(file)
        other.kill()
    assert lock.is_free(file)
    assert lock.is_free(tmp_path / "no such lock")
    lock.hold(file)
