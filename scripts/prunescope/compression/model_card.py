"""The README of an exported checkpoint: how it was made, how to load it, what it saves."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prunescope.model.edits import Edit
from prunescope.model.replacements import Masked, Quantized, Survivors


@dataclass(frozen=True)
class Cost:
    """Size and speed of a checkpoint as transformers loads it.

    Attributes
    ----------
    file_bytes : bytes of the safetensors files.
    weight_bytes : bytes of the weights in memory.
    kv_cache_bytes_per_token : bytes of keys and values of one position.
    """

    file_bytes: int
    weight_bytes: int
    kv_cache_bytes_per_token: int


@dataclass(frozen=True)
class Speedup:
    """How many times as fast as the dense checkpoint: a median, and its 95 % interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Savings:
    """What loading the checkpoint saves, compared with the dense checkpoint loaded alike."""

    dense: Cost
    exported: Cost
    prefill: Speedup
    decode: Speedup
    device: str
    threads: int


def unsaved(edit: Edit, form: str) -> list[str]:
    """What this variant could save but its checkpoint does not, in sentences."""
    kinds = {type(replacement) for replacement in edit.tensors.values()}
    said = []
    if form == "stock" and (edit.dropped.get("attn") or edit.dropped.get("mlp")):
        said.append(
            "Dropped sublayers are present with an output projection of zeros: they take the same "
            "memory, time and key-value cache as in the dense model. `make export` without "
            "`FORM=stock` writes a checkpoint without them."
        )
    if kinds & {Masked, Survivors}:
        said.append(
            "Pruned weights are stored as zeros: the checkpoint is as large and as slow as the "
            "dense one. Engines with sparse kernels need a 2:4 pattern and a conversion."
        )
    if Quantized in kinds:
        said.append(
            "Quantized weights are stored as the numbers that they stand for, in the number type "
            "of the model: the checkpoint is as large and as slow as the dense one."
        )
    return said


def write(
    folder: Path,
    dense_folder: str | Path,
    edit: Edit,
    made: Mapping[str, Any],
    savings: Savings,
    *,
    with_code: bool,
) -> None:
    """Write `README.md`; a README of the dense model becomes `README-dense.md`.

    Parameters
    ----------
    folder : the checkpoint.
    dense_folder : checkpoint of the dense model.
    edit : the edit of the variant.
    made : what `prunescope.json` says: `model`, `variant`, `form`, `settings`, `commit`, `proof`
        and so on.
    savings : measured by loading both checkpoints.
    with_code : whether transformers has to run the code in the folder.
    """
    if (readme := Path(dense_folder) / "README.md").is_file():
        shutil.copyfile(readme, folder / "README-dense.md")
    (folder / "README.md").write_text(
        _text(edit, made, savings, with_code=with_code), encoding="utf-8"
    )


def _text(edit: Edit, made: Mapping[str, Any], savings: Savings, *, with_code: bool) -> str:
    settings, proof = made["settings"], made["proof"]
    call = (
        'from_pretrained("FOLDER", trust_remote_code=True)'
        if with_code
        else ('from_pretrained("FOLDER")')
    )
    lines = [
        "---",
        f"tags: [pruned, {settings['edit']['method']}]",
        "library_name: transformers",
        "---",
        "",
        f"# {settings['model']}, variant {settings['variant']}",
        "",
        f"A compressed copy of `{settings['model']}`, made by prunescope "
        f"(commit `{made['commit']}`). Method and settings: `{settings['edit']}`. Calibration: "
        f"`{settings['calibration']}`, seed {settings['seed']}.",
        *_dropped(edit),
        "",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        f"model = AutoModelForCausalLM.{call}",
        f"tokenizer = AutoTokenizer.{call}",
        "```",
        "",
        *_about_code(with_code=with_code),
        "## What it saves",
        "",
        f"Measured on {savings.device}, {savings.threads} CPU threads, batch size 1, by loading "
        "this checkpoint and the dense one with transformers; intervals at 95 %.",
        "",
        *_table(savings),
        "",
        *[f"- {sentence}" for sentence in unsaved(edit, settings["form"])],
        "",
        "## Proof",
        "",
        f"All {proof['n_equal_tensors']} tensors equal the variant's bit by bit. Over "
        f"{proof['n_tokens']} tokens of prompts, logits differ by at most "
        f"{proof['largest_difference']:.3g}; the variant's own noise floor is "
        f"{proof['noise_floor']:.3g}, its largest logit {proof['largest_logit']:.3g}. "
        "`prunescope.json` has all of it for programs.",
        "",
    ]
    return "\n".join(lines)


def _dropped(edit: Edit) -> list[str]:
    names = {"attn": "attention of blocks", "mlp": "MLP of blocks", "block": "whole blocks"}
    return [
        f"Dropped: {names[kind]} {', '.join(map(str, numbers))} of the dense model, counted from 0."
        for kind, numbers in edit.dropped.items()
        if numbers
    ]


def _about_code(*, with_code: bool) -> list[str]:
    if not with_code:
        return []
    return [
        "`trust_remote_code=True` lets transformers run `pruned_model.py` and `dropped.py` of this "
        "folder, because stock architectures cannot leave out half a block. Without it, "
        "transformers refuses the folder. A static cache allocates memory for all blocks; the "
        "default, dynamic cache does not.",
        "",
    ]


def _table(savings: Savings) -> list[str]:
    dense, exported = asdict(savings.dense), asdict(savings.exported)
    names = {
        "file_bytes": "files, bytes",
        "weight_bytes": "weights in memory, bytes",
        "kv_cache_bytes_per_token": "key-value cache per token, bytes",
    }
    rows = ["| | dense | this | ratio |", "|---|---|---|---|"]
    for key, name in names.items():
        ratio = exported[key] / dense[key] if dense[key] else float("nan")
        rows.append(f"| {name} | {dense[key]:,} | {exported[key]:,} | {ratio:.3f} |")
    for name, speedup in (("prefill", savings.prefill), ("decoding", savings.decode)):
        interval = f"{speedup.low:.2f} to {speedup.high:.2f}"
        rows.append(f"| speed of {name} | 1 | {speedup.median:.2f} | {interval} |")
    return rows
