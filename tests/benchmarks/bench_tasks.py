"""One variant's task list in one job against a loop of `lm_eval` commands, one a task.

Both start as processes, load the same model and score the same rows; the embedded suite `core`
with its limits. Prints the ratio beside what the project aims for, and whether scores are equal.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

import fetch_task
from prunescope.model import edits, loading
from prunescope.storage import store
from smollm2 import ROOT, model_dir
from stock_lm_eval import write_definition

AIM = 2.0


def main() -> None:
    """Fetch the rows, run both, print the table."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    tasks = {name: config["tasks"][name] for name in config["suites"]["core"]}
    batch_size = config["benchmarks"]["batch_size"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, entry in tasks.items():
            fetch_task.fetch_task(entry["rows"], str(folder / f"task={name}"))
            write_definition(
                folder / "definitions", name, folder / f"task={name}", folder / "cache"
            )
        edits.write(folder / "edit.safetensors", edits.Edit(), {"rule": "bench"})
        own, scores = one_job(folder, tasks, batch_size)
        theirs = {name: one_command(folder, name, tasks[name], batch_size) for name in tasks}
    loop = sum(seconds for seconds, _ in theirs.values())
    for row in scores:
        _, found = theirs[row["task"]]
        expected = found[f"{row['metric']},{row['filter']}"]
        same = "equal" if row["score"] == expected else f"lm_eval says {expected}"
        print(f"{row['task']:12} {row['metric']:12} {row['score']:.4f} {row['n_items']:4}  {same}")
    for name, (seconds, _) in theirs.items():
        print(f"lm_eval, {name}: {seconds:.1f} s")
    print(f"{len(tasks)} lm_eval commands: {loop:.1f} s; one job: {own:.1f} s")
    print(f"ratio {loop / own:.2f} (aim {AIM:.1f})")


def one_job(folder: Path, tasks: dict[str, Any], batch_size: int) -> tuple[float, Any]:
    """Seconds of run_lm_eval as a process, and its scores."""
    arguments = {
        "source": loading.VariantSource(
            str(model_dir()),
            str(folder / "edit.safetensors"),
            "float32",
            torch.get_num_threads(),
        ),
        "rows_dirs": {name: str(folder / f"task={name}") for name in tasks},
        "scores_file": str(folder / "task_scores.parquet"),
        "samples_file": str(folder / "task_samples.parquet"),
        "tasks": tasks,
        "batch_size": batch_size,
        "decides": {},
        "made_by": {},
    }
    paths = [str(ROOT / "scripts")]
    program = (
        f"import sys; sys.path[:0] = {paths!r}\n"
        "from prunescope.model.loading import VariantSource\n"
        f"import run_lm_eval; run_lm_eval.run_lm_eval(**{arguments!r})"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return seconds, store.read(str(arguments["scores_file"]), "task_scores").to_pylist()


def one_command(
    folder: Path, name: str, settings: dict[str, Any], batch_size: int
) -> tuple[float, dict[str, float]]:
    """Seconds of one `lm_eval` command, and its results."""
    output = folder / f"{name}.json"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--tasks", name]
    command += ["--model_args", f"pretrained={model_dir()},dtype=float32", "--device", "cpu"]
    command += ["--include_path", str(folder / "definitions"), "--batch_size", str(batch_size)]
    command += ["--limit", str(settings["limit"]), "--num_fewshot", str(settings["n_shot"])]
    command += ["--output_path", str(output)]
    if "max_new_tokens" in settings:
        command += ["--gen_kwargs", f"max_gen_toks={settings['max_new_tokens']}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    (found,) = folder.glob(f"{name}*.json")
    results: dict[str, float] = json.loads(found.read_text(encoding="utf-8"))["results"][name]
    return seconds, results


if __name__ == "__main__":
    main()
