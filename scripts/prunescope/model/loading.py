"""Load the dense model, and apply an edit to make a variant without the cost of what it drops."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedTokenizerBase,
)

from prunescope import finite
from prunescope.inputs import model_config
from prunescope.machine import attention, products, runtime
from prunescope.model import anatomy, checkpoint, dropped, edits, prompts, tokenization
from prunescope.model.edits import Edit
from prunescope.model.replacements import replaced
from prunescope.model.variant import Variant
from prunescope.progress import JobError
from prunescope.storage import digests

_DAMAGED_EDIT = (
    "The file of the edit is damaged, or numbers overflowed when it was made: delete it and make "
    "it again with dtype: bfloat16 or float32."
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The values of `dtype` in the config."""


KINDS = {"causal": AutoModelForCausalLM, "encoder": AutoModel}
"""The values of `kind` in the config: a model with an lm_head, or one without."""


def load(model_dir: str | Path, dtype: str, device: torch.device, kind: str = "causal") -> Any:
    """Load the dense model in eval mode onto `device`.

    Parameters
    ----------
    model_dir : folder of the model.
    dtype : a key of `DTYPES`.
    kind : a key of `KINDS`. The `base_model` of a causal model also computes text embeddings.

    Raises
    ------
    OSError
        if the files are damaged.
    JobError
        if transformers makes no model of the files, the checkpoint lacks a parameter of the model
        or holds a tensor that the model does not use, or a file has changed since it was fetched.
    """
    digests.check_folder(model_dir)
    model, info = _from_pretrained(model_dir, dtype, kind)
    checkpoint.check(checkpoint.account_of(model, info, model_dir, kind), model_dir)
    if kind == "encoder" and hasattr(model, "pooler"):
        model.pooler = None  # it comes after the hidden states, and few checkpoints have one
    if missing := anatomy.missing_parts(model, kind):
        raise JobError(
            f"model {model_dir}: its entry {model.config.model_type!r} of ANATOMIES names "
            f"{', '.join(missing)}, which the model does not have. Correct the entry "
            "(docs/extend/architecture.md), or choose another checkpoint."
        )
    prompts.decode_by_argmax(model)
    fix_rotary_factors(model)
    return attention.use(products.use(model.to(device).eval().requires_grad_(False)))


def _from_pretrained(model_dir: str | Path, dtype: str, kind: str) -> tuple[Any, dict[str, Any]]:
    """The model as transformers loads it, and which tensors it did not find or did not use.

    Raises JobError if transformers cannot build a model from these files, whatever it says.
    """
    try:
        loaded: tuple[Any, dict[str, Any]] = KINDS[kind].from_pretrained(
            model_dir,
            dtype=DTYPES[dtype],
            local_files_only=True,
            device_map=None,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are listed, and `load` refuses them
            output_loading_info=True,
        )
    except (OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each configuration class and each model raises its own
        raise JobError(
            f"model {model_dir}: transformers makes no model of its config.json and weights "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Correct what it "
            "names in a copy of the folder, or choose another checkpoint."
        ) from error
    return loaded


@dataclass(frozen=True)
class VariantSource:
    """The files that a variant is loaded from, and settings for running it.

    Attributes
    ----------
    model_dir : folder of the dense model.
    edit_file : file written by `edits.write`.
    dtype : a key of `DTYPES`.
    threads : number of CPU threads, which decides how sums are split.
    kind : a key of `KINDS`.
    prompting : `prompting` of the model in the config; None for the defaults.
    """

    model_dir: str
    edit_file: str
    dtype: str
    threads: int
    kind: str = "causal"
    prompting: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Loaded:
    """The dense model and an edit; variant and tokenizer are made on first use."""

    source: VariantSource
    dense: Any
    edit: Edit

    @cached_property
    def variant(self) -> Variant:
        """The dense model with the edit applied."""
        return Variant(apply_edit(self.dense, self.edit), self.edit)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the dense model, which the variant shares."""
        return load_tokenizer(self.source.model_dir, self.source.prompting)


def load_variant(source: VariantSource) -> Loaded:
    """Choose device and threads, load the dense model and read the edit. Raises as `load` does."""
    device = runtime.prepare(source.threads)
    dense = load(source.model_dir, source.dtype, device, source.kind)
    return Loaded(source, dense, edits.read(source.edit_file))


def fix_rotary_factors(model: Any) -> None:
    """Use the rotary factors of short texts for texts of any length.

    LongRoPE and dynamic NTK change the factors of all positions as soon as the longest text of a
    batch exceeds a limit. Then a single pass would differ from decoding step by step, and a text
    alone from the same text in a batch. Texts up to the limit, which `longest` returns, are not
    affected.
    """
    for module in model.modules():
        rope_types = getattr(module, "rope_type", None)
        if isinstance(rope_types, str) and _by_length(rope_types):
            module.rope_type = "default"
        elif isinstance(rope_types, dict):
            module.rope_type = {k: "default" if _by_length(v) else v for k, v in rope_types.items()}


def _by_length(rope_type: str) -> bool:
    return "dynamic" in rope_type or rope_type == "longrope"


def load_tokenizer(
    model_dir: str | Path, prompting: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of the model, the same for all stages (see `tokenization.load`)."""
    return tokenization.load(model_dir, prompting)


def longest(model_dir: str | Path) -> int | None:
    """Number of positions the model was made for, from config.json; None if it names none."""
    return model_config.positions_in(model_dir)


def positions_of(config: Mapping[str, Any]) -> int | None:
    """Positions that config.json allows, with the rotary factors of short texts."""
    return model_config.shape_of(config).positions


def apply_edit(dense: Any, edit: Edit) -> Any:
    """Make the variant, which shares all unchanged tensors with `dense`; `dense` is not changed.

    Dropped sublayers and blocks are removed, and need neither computation nor cache. The norms of a
    sublayer are dropped with it. A norm of the residual stream itself does not belong to the
    sublayer and stays: in BERT, norm(h + sublayer) becomes norm(h).

    Raises
    ------
    ValueError
        if the edit names a tensor or block that the model does not have.
    """
    variant = _share_structure(dense)
    _replace_tensors(variant, edit)
    body = anatomy.anatomy_of(dense)
    blocks = anatomy.blocks_of(variant)
    for name, indices in edit.dropped.items():
        if indices and indices[-1] >= len(blocks):
            raise ValueError(f"edit drops {name} {indices[-1]}, but there are {len(blocks)} blocks")
    for index, block in enumerate(blocks):
        for sublayer in anatomy.SUBLAYERS:
            if edit.is_dropped(index, sublayer):
                parts = body.sublayers[sublayer]
                dropped.drop(block, sublayer, parts.module, parts.out, parts.norms)
    _keep_blocks(variant, edit.kept_blocks(len(blocks)))
    remaining = anatomy.blocks_of(variant)
    kinds = getattr(variant.config, "layer_types", None) or ["full_attention"] * len(remaining)
    dropped.renumber_caches(list(remaining), body.attn, kinds)
    return variant


def _share_structure(model: Any) -> Any:
    """Copy the module tree, but share the parameters and buffers of `model`."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, memo={id(tensor): tensor for tensor in tensors})


def _replace_tensors(variant: nn.Module, edit: Edit) -> None:
    for name, replacement in edit.tensors.items():
        owner, _, leaf = name.rpartition(".")
        dense = variant.get_parameter(name)
        if isinstance(replacement, Tensor) and replacement.shape != dense.shape:
            raise ValueError(
                f"edit replaces {name} of shape {tuple(dense.shape)} by one of shape "
                f"{tuple(replacement.shape)}: it was made for another model. Run snakemake again "
                "to rebuild it."
            )
        module = variant.get_submodule(owner)
        new = finite.checked(replaced(dense, replacement), f"edit: weights {name}", _DAMAGED_EDIT)
        setattr(module, leaf, nn.Parameter(new, requires_grad=False))
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape


def _keep_blocks(variant: Any, kept: Sequence[int]) -> None:
    body, blocks, config = anatomy.anatomy_of(variant), anatomy.blocks_of(variant), variant.config
    if len(kept) == len(blocks):
        return
    variant.set_submodule(body.blocks, nn.ModuleList(blocks[i] for i in kept))
    config.num_hidden_layers = len(kept)
    for setting in body.block_settings:
        if getattr(config, setting, None) is not None:
            setattr(config, setting, [getattr(config, setting)[i] for i in kept])
