"""lm-eval as it comes, told to read rows of our store: what our scores are compared with."""

import json
from pathlib import Path

import lm_eval

from prunescope.evaluation import OWN_TASKS

DEFINITIONS = Path(lm_eval.__file__).parent / "tasks"
FILES = {
    "hellaswag": DEFINITIONS / "hellaswag/hellaswag.yaml",
    "arc_easy": DEFINITIONS / "arc/arc_easy.yaml",
    "winogrande": DEFINITIONS / "winogrande/default.yaml",
    "boolq": DEFINITIONS / "super_glue/boolq/default.yaml",
    "gsm8k": DEFINITIONS / "gsm8k/gsm8k.yaml",
    "nq_open": DEFINITIONS / "nq_open/nq_open.yaml",
    "wikitext": DEFINITIONS / "wikitext/wikitext.yaml",
    "squad": OWN_TASKS / "squad.yaml",
}
"""Where each task is defined: lm-eval is told so here, and finds it itself in the product."""


def write_definition(folder, task, rows_dir, cache_dir):
    """A folder for lm-eval's include path: the task, reading Parquet files of `rows_dir`."""
    there = {file.stem: str(file) for file in sorted(rows_dir.glob("*.parquet"))}
    wanted = {"training_split": "train", "validation_split": "validation", "test_split": "test"}
    entry = {
        "include": str(FILES[task]),
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": there, "cache_dir": str(cache_dir)},
        **{key: split if split in there else None for key, split in wanted.items()},
    }
    if "train" not in there:
        entry["fewshot_split"] = None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{task}.yaml").write_text(json.dumps(entry))
    return folder
