"""lm-eval as it comes, told to read rows of our store: what our scores are compared with."""

import json
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager

from prunescope.evaluation.harness import OWN_TASKS
from task_inputs import SETTINGS

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
    "basic_code": OWN_TASKS / "basic_code.yaml",
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


def stock(folder, model_dir, task, rows_dir, batch_size):
    """lm-eval's own results: its model class, loaded by name, its reader of Parquet files."""
    definitions = write_definition(folder / "definitions", task, rows_dir, folder / "cache")
    settings = SETTINGS[task]
    length = settings.get("max_new_tokens")
    return lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={model_dir},dtype=float32,trust_remote_code=True",
        tasks=[task],
        num_fewshot=settings["n_shot"],
        limit=None if settings["limit"] == "all" else settings["limit"],
        batch_size=batch_size,
        device="cpu",
        gen_kwargs=f"max_gen_toks={length}" if length else None,
        task_manager=TaskManager(include_path=str(definitions), include_defaults=False),
    )
