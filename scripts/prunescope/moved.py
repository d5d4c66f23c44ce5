"""Import paths of release 0.1 still work in 0.2, with a warning that names the new path.

Modules stood in one flat folder until 0.2. Methods and scripts that users wrote import them from
there: `from prunescope import models` now gives `prunescope.model.loading`. To be removed in 0.3.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_BY_FOLDER = {
    "storage": "store seals digests finished differences",
    "tables": "schemas",
    "machine": "runtime allocator products attention",
    "sandbox": "sandbox=starter jail exchange tested_names escapes",
    "inputs": (
        "sources unpacking row_files gguf_header gguf_models model_config model_folder "
        "squad task_rows retrieval_sets"
    ),
    "model": (
        "anatomy models=loading edits replacements capture spaces=unembedding prompts "
        "sampling tokenization checkpoint"
    ),
    "measures": "metrics kernels fused comparisons texts=wording",
    "theory": "theory=estimates deviations",
    "compression": (
        "calibration influence ranking evidence blockwise hessians masks patterns "
        "quantization export methods"
    ),
    "tracing": (
        "tracing=sublayer_traces histories decoding attention_error options letters agreement costs"
    ),
    "checking": "model_check noise",
    "evaluation": (
        "evaluation=harness lm_eval_adapter=variant_lm code_eval matched_formats "
        "embedding=text_embedding retrieval lm_eval_tasks"
    ),
    "report": "charts tabulation=text_tables labels queries views page noise_limits",
    "workflow": (
        "experiment model_plan yaml_keys fingerprint lock records slurm unfinished store_care"
    ),
}
"""Folder -> modules in it, `old=new` where the name changed, too."""

MOVED = {
    f"prunescope.{old}": f"prunescope.{folder}.{new or old}"
    for folder, names in _BY_FOLDER.items()
    for old, _, new in (name.partition("=") for name in names.split())
}
"""Old import path -> the new one."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked for an old path, loads the module of the new one under both names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = _moved(module.__name__)


def _moved(old: str) -> ModuleType:
    warnings.warn(f"{old} is {MOVED[old]} since 0.2.", FutureWarning, stacklevel=2)
    return importlib.import_module(MOVED[old])


def names_of(old: str) -> Callable[[str], Any]:
    """`__getattr__` of a folder that is called as a module was: the module's names."""

    def name_of_module(name: str) -> Any:
        if name.startswith("__") or importlib.util.find_spec(f"{old}.{name}") is not None:
            raise AttributeError(name)  # a module of the folder: to be imported, then
        return getattr(_moved(old), name)

    return name_of_module


def install() -> None:
    """Let Python find modules by their old paths."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
