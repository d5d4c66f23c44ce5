"""Write a variant as a Hugging Face checkpoint, as small as it runs.

Blocks that are gone and pruned neurons fit the stock architecture: the checkpoint is an ordinary
one. The config of a stock architecture cannot say that a block has no attention or no MLP (the key
`per_layer_config` of transformers 5 accepts `skip`, but no model of 5.23 reads it). There are two
forms of such variants:

small : weights of the remaining sublayers alone, and two short files of code, which transformers
    runs with `trust_remote_code=True`. Neither memory nor time nor key-value cache is needed for
    what is dropped.
stock : the ordinary architecture, in which the output projection of a dropped sublayer is zero. It
    is loaded without foreign code, but as large and as slow as the dense model.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunescope.model import anatomy, dropped, loading, pruned_model
from prunescope.model.edits import Edit
from prunescope.model.variant import Variant
from prunescope.storage import store

FORMS = ("small", "stock")
"""Forms of a checkpoint, the default first."""

_REWRITTEN = ("*.safetensors", "*.safetensors.index.json", "config.json", "*.py", "README.md")
"""Files of the dense folder that the variant replaces or that are not copied; all others are."""


def needs_code(edit: Edit, form: str) -> bool:
    """Whether the checkpoint of a variant contains code that transformers has to run."""
    return form == "small" and bool(edit.dropped.get("attn") or edit.dropped.get("mlp"))


def exported_model(dense: Any, edit: Edit, form: str) -> Any:
    """The model whose tensors the checkpoint holds; unchanged tensors are shared with `dense`.

    Parameters
    ----------
    dense, edit : dense model and edit of the variant.
    form : one of `FORMS`. In form `stock`, a dropped sublayer is present with an output projection
        of zeros, and a norm after it maps zero to zero.
    """
    model = loading.apply_edit(dense, edit) if form == "small" else _with_zeros(dense, edit)
    if edit.tensors:
        model.config.intermediate_size = _intermediate_size(model)
    return model


def _with_zeros(dense: Any, edit: Edit) -> Any:
    parts = anatomy.anatomy_of(dense).sublayers
    without_blocks = Edit({"block": edit.dropped.get("block", ())}, edit.tensors)
    model = loading.apply_edit(dense, without_blocks)
    for index, block in Variant(model, without_blocks).blocks().items():
        for sublayer in anatomy.SUBLAYERS:
            if edit.is_dropped(index, sublayer):
                _set_to_zero(block.get_submodule(parts[sublayer].out))
    return model


def _set_to_zero(module: nn.Module) -> None:
    for name, parameter in list(module.named_parameters()):
        setattr(module, name, nn.Parameter(torch.zeros_like(parameter), requires_grad=False))


def _intermediate_size(model: Any) -> int:
    """Number of neurons of each MLP.

    Raises ValueError if blocks differ, because the config of a checkpoint has a single number.
    """
    body = anatomy.anatomy_of(model)
    sizes = [
        block.get_submodule(body.mlp_out).get_parameter("weight").shape[1]
        for block in anatomy.blocks_of(model)
        if not isinstance(block.get_submodule(body.mlp), dropped.DroppedSublayer)
    ]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"MLPs of the variant have {min(sizes)} to {max(sizes)} neurons, but a checkpoint has "
            "one intermediate_size for all blocks. Export a variant that prunes them alike."
        )
    return sizes[0] if sizes else model.config.intermediate_size


def write(
    folder: Path, dense: Any, edit: Edit, dense_folder: str | Path, form: str = "small"
) -> Any:
    """Write the checkpoint of a variant, and return the model that was written.

    Parameters
    ----------
    folder : the folder that is written.
    dense, edit : dense model and edit of the variant.
    dense_folder : checkpoint of the dense model, from which tokenizer files are copied.
    form : one of `FORMS`.
    """
    model = exported_model(dense, edit, form)
    with_code = needs_code(edit, form)
    # transformers renames tensors of some stock architectures when it loads them, but not of a
    # model that brings its own code.
    model.save_pretrained(folder, save_original_format=not with_code)
    for file in folder.glob("*.safetensors"):
        store.set_usual_mode(file)
    for file in Path(dense_folder).iterdir():
        if file.is_file() and not any(file.match(pattern) for pattern in _REWRITTEN):
            shutil.copyfile(file, folder / file.name)
    if with_code:
        _write_code(folder, model, edit)
    return model


def _write_code(folder: Path, model: Any, edit: Edit) -> None:
    """Write the code of the model, with the stock classes it derives from, and point to it."""
    config_class, model_class = type(model.config).__name__, type(model).__name__
    model_type = f"pruned_{model.config.model_type}"
    source = Path(pruned_model.__file__).read_text(encoding="utf-8")
    for name, replacement in (
        ("LlamaConfig", config_class),
        ("LlamaForCausalLM", model_class),
        (pruned_model.PrunedConfig.model_type, model_type),
    ):
        source = source.replace(name, replacement)
    (folder / "pruned_model.py").write_text(source, encoding="utf-8")
    shutil.copyfile(dropped.__file__, folder / "dropped.py")
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {
        "model_type": model_type,
        "architectures": [pruned_model.PrunedForCausalLM.__name__],
        "auto_map": {
            "AutoConfig": f"pruned_model.{pruned_model.PrunedConfig.__name__}",
            "AutoModelForCausalLM": f"pruned_model.{pruned_model.PrunedForCausalLM.__name__}",
        },
        "pruned": _missing_parts(model, edit),
    }
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _missing_parts(model: Any, edit: Edit) -> dict[str, Any]:
    """What `pruned_model.PrunedConfig` says of the variant, in its own block numbers."""
    body = anatomy.anatomy_of(model)
    missing: dict[str, Any] = {"blocks": body.blocks}
    numbers = list(enumerate(Variant(model, edit).blocks()))
    for sublayer, parts in body.sublayers.items():
        missing[sublayer] = {
            "dropped": [i for i, block in numbers if edit.is_dropped(block, sublayer)],
            "module": parts.module,
            "out": parts.out,
            "norms": list(parts.norms),
        }
    return missing
