"""Compression methods, one file each: the folder listing is the list of methods.

A method is a module with one public function `compress`. Its positional parameters say what
it reads, its keyword-only ones are the settings `config.yaml` may name, and it returns the
edit with its rows of `compression_report`.
"""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from prunescope.model.edits import Edit

Compress = Callable[..., tuple[Edit, pa.Table]]

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """All methods, by file name."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")


def load(name: str) -> Compress:
    """The method's `compress`. Raises ValueError for a method without a file."""
    if name not in names():
        raise ValueError(f"there is no method {name!r}; there are {', '.join(names())}.")
    compress: Compress = importlib.import_module(f"prunescope.compression.methods.{name}").compress
    return compress


def reads(name: str) -> tuple[str, ...]:
    """What the method's `compress` takes by position, found without importing it."""
    return tuple(argument.arg for argument in _signature(name).args)


def settings(name: str) -> tuple[str, ...]:
    """What the method's `compress` takes by keyword only, found without importing it."""
    return tuple(argument.arg for argument in _signature(name).kwonlyargs)


def _signature(name: str) -> ast.arguments:
    tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return next(function.args for function in functions if function.name == "compress")
