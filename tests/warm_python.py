"""A Python that has imported the large libraries, and runs each command in a fork of itself.

`python`, `pytest` and `snakemake` spend most of a short command on imports. Started as a program,
this module imports what they need once and then reads commands, one JSON object a line; each runs
in a fork, from a folder and with an environment of its own, as if it had been started there. No
module of this repository is imported here: a fork imports those of the folder it works in.
"""

import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self


class WarmPython:
    """The warmed-up process, as a context."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # an end of file ends it

    def run(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, output: Path
    ) -> int:
        """Exit status of a command; what it prints goes to the file `output`."""
        asked = [list(argv), dict(environment), str(folder), str(output)]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def _serve() -> None:
    """Answer each command with its exit status."""
    gc.freeze()  # what is there already is shared with forks, which leave it as it is
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_run(*json.loads(line)))  # without taking down, which takes two seconds
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(argv: list[str], environment: dict[str, str], folder: str, output: str) -> int:
    """Exit status of a command that is run in this process."""
    for number, path in ((0, os.devnull), (1, output), (2, output)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    local = [str(Path(path).resolve()) for path in environment.get("PYTHONPATH", "").split(":")]
    sys.path[:] = [*filter(None, local), *(path for path in sys.path if path != HERE)]
    try:
        _run_as_main(*argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _run_as_main(program: str, *arguments: str) -> None:
    """What `python`, or a program that is a module, does with its arguments."""
    if program != "python":
        sys.argv = [program, *arguments]
        runpy.run_module(program, run_name="__main__")
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<command>", "exec"), {"__name__": "__main__"})
    elif arguments[0] == "-m":
        sys.argv = [*arguments[1:]]
        runpy.run_module(arguments[1], run_name="__main__")
    else:
        sys.argv = [*arguments]
        runpy.run_path(arguments[0], run_name="__main__")


HERE = str(Path(__file__).resolve().parent)

LARGE = (
    *("altair", "duckdb", "numba", "pyarrow.parquet", "pytest", "snakemake.cli", "torch"),
    *("transformers.models.auto", "transformers.models.llama.modeling_llama", "vl_convert"),
)

if __name__ == "__main__":
    for name in LARGE:
        importlib.import_module(name)
    _serve()
