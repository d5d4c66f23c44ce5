"""Compression methods, one per file; the list of files in this folder is the list of methods.

A method is a module with one public function, `compress`. Its positional parameters are the inputs
that it reads, and its keyword-only parameters are the settings that config may give it. It returns
the edit and its rows of `compression_report`.
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
    """Names of all methods, which are the names of their files."""
    return sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "__init__")


def load(name: str) -> Compress:
    """The function `compress` of a method. Raises ValueError if there is no such method."""
    if name not in names():
        raise ValueError(f"there is no method {name!r}; there are {', '.join(names())}.")
    compress: Compress = importlib.import_module(f"prunescope.compression.methods.{name}").compress
    return compress


def reads(name: str) -> tuple[str, ...]:
    """Names of the inputs of a method, read from its source without importing it."""
    return tuple(argument.arg for argument in _signature(name).args)


def settings(name: str) -> tuple[str, ...]:
    """Names of the settings of a method, read from its source without importing it."""
    return tuple(argument.arg for argument in _signature(name).kwonlyargs)


def _signature(name: str) -> ast.arguments:
    tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return next(function.args for function in functions if function.name == "compress")
