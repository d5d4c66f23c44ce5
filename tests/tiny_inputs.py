"""Inputs small enough to make in a test: a tokenizer, a model folder, a wheel, documents."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from prunescope.tables.schemas import TABLES

BEGIN, END = "<s>", "<|endoftext|>"


def byte_tokenizer(*, begin=False, end=True):
    """One token per byte of text; with `begin`, every text starts with BEGIN, as Llama's do."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for special in [BEGIN] * begin + [END] * end:
        tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False)])
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.token_to_id(BEGIN))]
        )
    return tokenizer


def save_tokenizer(folder, **kinds):
    """tokenizer.json and tokenizer_config.json in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    byte_tokenizer(**kinds).save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    return folder / "tokenizer.json"


def save_model(folder, n_blocks=3):
    """A model folder in the hub's layout whose weights mean nothing."""
    save_tokenizer(folder)
    config = {"model_type": "llama", "num_hidden_layers": n_blocks, "hidden_size": 8}
    config |= {"num_attention_heads": 2}
    config |= {"vocab_size": 257, "architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"weight": np.arange(4.0)}, folder / "model.safetensors")
    return folder


def build_wheel(folder, members, name="tinydata", version="1.0"):
    """A wheel that holds `members` (name -> bytes); returns its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def wheel_source(sha256, member, name="tinydata", version="1.0"):
    """A source as config writes it."""
    return {"from": "wheel", "name": name, "version": version, "sha256": sha256, "member": member}


def documents(lengths):
    """Table `documents` of random printable texts, of so many bytes each."""
    rng = np.random.default_rng(7)
    texts = [bytes(rng.integers(97, 123, length).tolist()).decode() for length in lengths]
    ids = [f"doc-{number}" for number in range(len(texts))]
    return pa.table({"document_id": ids, "text": texts}, schema=TABLES["documents"].schema)


def json_lines(rows):
    """Rows as the bytes of a .jsonl file."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def names_below(folder):
    """Everything in a folder, hidden files included."""
    return sorted(str(file.relative_to(folder)) for file in Path(folder).rglob("*"))
