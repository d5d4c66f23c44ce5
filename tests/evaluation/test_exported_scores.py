"""lm-eval gives the exported checkpoint the scores that we give the variant."""

import pytest
import torch

import export_model
import run_lm_eval
from prunescope.compression import influence, methods
from prunescope.compression.blockwise import Calibration
from prunescope.model import edits, loading
from prunescope.storage import store
from stock_lm_eval import stock
from task_inputs import SETTINGS, write_task
from tiny import TEXTS, make_tiny_model

TASKS = ("hellaswag", "boolq", "squad")
BATCH = 4
IDS = torch.randint(3, 250, (4, 16), generator=torch.Generator().manual_seed(3))
VARIANTS = {
    "drop-2a": ("sublayer_drop", {"sublayer": "attn", "n_drop": 2}),
    "drop-1b": ("block_drop", {"n_drop": 1}),
    "wanda-2of4": ("wanda", {"pattern": "2:4"}),
}

MADE = {
    "model": "m",
    "variant": "v",
    "form": "small",
    "edit": {"method": "wanda"},
    "calibration": {},
    "seed": 0,
}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def compressed(model_dir, method, settings):
    """The edit one method makes of the model in the folder."""
    model = loading.load(model_dir, "float32", torch.device("cpu"))
    evidence = {
        "model": model,
        "calibration": Calibration(IDS),
        "influence": influence.influences(model, [IDS]),
    }
    read = (evidence.get(name) for name in methods.reads(method))
    return methods.load(method)(*read, **settings)[0]


def scored(folder, model_dir, edit_file, rows_dirs):
    """Score of every (task, metric, filter), and every response, as the workflow's job has them."""
    run_lm_eval.run_lm_eval(
        loading.VariantSource(str(model_dir), str(edit_file), "float32", threads=1),
        rows_dirs=rows_dirs,
        scores_file=str(folder / "scores.parquet"),
        samples_file=str(folder / "samples.parquet"),
        tasks={task: SETTINGS[task] for task in rows_dirs},
        batch_size=BATCH,
        decides={},
        made_by={},
    )
    rows = store.read(folder / "scores.parquet", "task_scores").to_pylist()
    said = store.read(folder / "samples.parquet", "task_samples")["response"].to_pylist()
    return {(row["task"], f"{row['metric']},{row['filter']}"): row["score"] for row in rows}, said


@pytest.mark.parametrize("variant", VARIANTS)
def test_lm_eval_scores_the_checkpoint_like_the_variant(tmp_path, model_dir, variant):
    """Scores are equal to the last digit, and the variant's answers differ from those of dense."""
    rows_dirs = {task: str(write_task(tmp_path, task, n_rows=20)) for task in TASKS}
    edit_file = tmp_path / "edit.safetensors"
    edits.write(edit_file, compressed(model_dir, *VARIANTS[variant]), {})
    export_model.export_model(
        loading.VariantSource(str(model_dir), str(edit_file), "float32", threads=1),
        prompt_texts={"p": {"kind": "open_ended", "text": TEXTS[0]}},
        checkpoint_dir=str(tmp_path / "exported"),
        form="small",
        made_by=store.provenance("export_model", MADE),
    )
    ours, said = scored(tmp_path, model_dir, edit_file, rows_dirs)
    theirs = {
        (task, key): score
        for task in TASKS
        for key, score in stock(
            tmp_path / task, tmp_path / "exported", task, tmp_path / f"task={task}", BATCH
        )["results"][task].items()
        if (task, key) in ours
    }
    assert theirs == ours
    edits.write(edit_file, edits.Edit(), {})
    _, dense_said = scored(tmp_path, model_dir, edit_file, rows_dirs)
    assert said != dense_said
