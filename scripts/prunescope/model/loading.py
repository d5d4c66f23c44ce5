"""Load the dense model; apply an edit to get a variant that pays only for what it keeps."""

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
from prunescope.model import anatomy, checkpoint, edits, prompts, tokenization
from prunescope.model.edits import Edit
from prunescope.model.replacements import replaced
from prunescope.model.variant import Variant
from prunescope.storage import digests

_DAMAGED_EDIT = (
    "The edit's file is damaged, or it was made where numbers overflow: delete it and make it "
    "again with dtype: bfloat16 or float32."
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The dtypes config may name."""


KINDS = {"causal": AutoModelForCausalLM, "encoder": AutoModel}
"""What config may call a model: one with an lm_head, or one that ends in hidden states."""


def load(model_dir: str | Path, dtype: str, device: torch.device, kind: str = "causal") -> Any:
    """The dense model in eval mode, on `device`: what its checkpoint holds, all of it, no more.

    Parameters
    ----------
    kind : a key of `KINDS`. A causal model also makes embeddings, through its `base_model`.

    Raises
    ------
    OSError
        if the files are damaged.
    JobError
        if the checkpoint lacks a parameter of the model, or holds what the model does not read, or
        a file is no longer what was fetched.
    """
    digests.check_folder(model_dir)
    model: Any
    model, info = KINDS[kind].from_pretrained(
        model_dir,
        dtype=DTYPES[dtype],
        local_files_only=True,
        device_map=None,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # they are in `info`, and refused
        output_loading_info=True,
    )
    checkpoint.check(checkpoint.account_of(model, info, model_dir, kind), model_dir)
    if kind == "encoder" and hasattr(model, "pooler"):
        model.pooler = None  # hidden states are read before it, and few checkpoints hold one
    anatomy.anatomy_of(model)
    prompts.decode_by_argmax(model)
    fix_rotary_factors(model)
    return attention.use(products.use(model.to(device).eval().requires_grad_(False)))


@dataclass(frozen=True)
class VariantSource:
    """The files that a variant is loaded from, and how its models are run.

    Attributes
    ----------
    model_dir : folder of the dense model. edit_file : what `edits.write` wrote.
    dtype : a key of `DTYPES`.
    threads : CPU threads that sums are spread over.
    kind : a key of `KINDS`.
    prompting : the model's `prompting` in config; None for the tokenizer as it is.
    """

    model_dir: str
    edit_file: str
    dtype: str
    threads: int
    kind: str = "causal"
    prompting: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Loaded:
    """The dense model and an edit of it. Variant and tokenizer are made when first asked for."""

    source: VariantSource
    dense: Any
    edit: Edit

    @cached_property
    def variant(self) -> Variant:
        """The dense model as the edit leaves it."""
        return Variant(apply_edit(self.dense, self.edit), self.edit)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The dense model's, which the variant shares."""
        return load_tokenizer(self.source.model_dir, self.source.prompting)


def load_variant(source: VariantSource) -> Loaded:
    """Choose device and threads, load the dense model, read the edit. Raises what `load` does."""
    device = runtime.prepare(source.threads)
    dense = load(source.model_dir, source.dtype, device, source.kind)
    return Loaded(source, dense, edits.read(source.edit_file))


def fix_rotary_factors(model: Any) -> None:
    """Have rotary factors be the same in a text of any length: those of short texts.

    LongRoPE and dynamic NTK exchange the factors of all positions once the longest text of a batch
    passes a border. One pass would not be the decode of its steps, nor a text alone the same text
    in a batch. Texts up to the border are not affected; `longest` says where it is.
    """
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if isinstance(kinds, str) and _by_length(kinds):
            module.rope_type = "default"
        elif isinstance(kinds, dict):
            module.rope_type = {k: "default" if _by_length(v) else v for k, v in kinds.items()}


def _by_length(rope_type: str) -> bool:
    return "dynamic" in rope_type or rope_type == "longrope"


def load_tokenizer(
    model_dir: str | Path, prompting: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """The model's tokenizer, as every stage reads text (`tokenization.load`)."""
    return tokenization.load(model_dir, prompting)


def longest(model_dir: str | Path) -> int | None:
    """Positions the model was made for, read off its config.json; None where it names none."""
    return model_config.positions_in(model_dir)


def positions_of(config: Mapping[str, Any]) -> int | None:
    """Positions a config names, or fewer: those read with the factors of short texts."""
    return model_config.shape_of(config).positions


class DroppedSublayer(nn.Module):
    """Adds nothing to the residual stream: no product, no key-value cache."""

    def __init__(self, sublayer: str) -> None:
        super().__init__()
        self.returns_pair = sublayer == "attn"
        self.counts_in: int | None = None
        """Place in the cache where it counts positions, a byte for each key and value."""

    def forward(
        self, hidden_states: Tensor, past_key_values: Any = None, **_: object
    ) -> Tensor | tuple[Tensor, None]:
        """A zero that broadcasts; attention modules also return (absent) weights."""
        nothing = hidden_states.new_zeros(1)
        if self.counts_in is not None and past_key_values is not None:
            batch, positions, _d = hidden_states.shape
            counted = hidden_states.new_zeros(batch, 1, positions, 1, dtype=torch.bool)
            past_key_values.update(counted, counted, self.counts_in)
        return (nothing, None) if self.returns_pair else nothing


def apply_edit(dense: Any, edit: Edit) -> Any:
    """The variant: a model that shares every untouched tensor with `dense`, which stays as it is.

    Dropped sublayers and blocks are taken out, so they cost no compute and no cache. A sublayer's
    own norms go with it. Where the stream itself is normed (BERT: norm(h + sublayer)), dropping
    leaves norm(h): the residual and the norm stay, for the norm is not the sublayer's.
    Raises ValueError if the edit names a tensor or block the model does not have.
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
                _drop(block, sublayer, body.sublayers[sublayer])
    _keep_blocks(variant, edit.kept_blocks(len(blocks)))
    _renumber_caches(variant)
    return variant


def _drop(block: nn.Module, sublayer: str, parts: anatomy.SublayerParts) -> None:
    """Take a sublayer out: the module, its norms, and the linear it writes through, if outside."""
    block.set_submodule(parts.module, DroppedSublayer(sublayer))
    outside = () if parts.out.startswith(f"{parts.module}.") else (parts.out,)
    for each in (*parts.norms, *outside):
        block.set_submodule(each, nn.Identity())


def _share_structure(model: Any) -> Any:
    """A copy of the module tree whose parameters and buffers are those of `model`."""
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


def _renumber_caches(variant: Any) -> None:
    """Give the attention sublayers that are left consecutive places in the key-value cache.

    transformers reads the cache's length off place 0, and place i is built for layer_types[i]:
    so each kind of attention takes the places of its own kind, from the first on. Where none of
    the first kind is left, the dropped one of the first block goes on counting positions there.
    """
    config, name = variant.config, anatomy.anatomy_of(variant).attn
    blocks = anatomy.blocks_of(variant)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(blocks)
    places = {kind: iter([i for i, k in enumerate(kinds) if k == kind]) for kind in set(kinds)}
    attentions: list[tuple[str, Any]] = [
        (kind, b.get_submodule(name)) for kind, b in zip(kinds, blocks, strict=True)
    ]
    left = [(kind, each) for kind, each in attentions if not isinstance(each, DroppedSublayer)]
    if attentions and kinds[0] not in {kind for kind, _ in left}:
        attentions[0][1].counts_in = 0
    for kind, each in left:
        each.layer_idx = next(places[kind])
