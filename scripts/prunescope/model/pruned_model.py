"""A causal model without some of its attention sublayers and MLPs, as transformers loads it.

`config.json` says under `pruned` which sublayers are missing and what their parts are called. They
need no memory, no time and no key-value cache. Load the folder with `trust_remote_code=True`, which
lets transformers run this file; it reads and writes no files and opens no connection.
"""

from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

from .dropped import drop, renumber_caches


class PrunedConfig(LlamaConfig):
    """The config of the dense model, with one key more.

    Attributes
    ----------
    pruned : the name of the list of `blocks`, and for `attn` and `mlp` the numbers of the blocks
        without this sublayer (`dropped`) and the names of its parts in a block (`module`, `out`,
        `norms`).
    """

    model_type = "pruned_llama"


class PrunedForCausalLM(LlamaForCausalLM):
    """The dense model without the sublayers that `config.pruned` names."""

    config: PrunedConfig
    config_class = PrunedConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        pruned: dict[str, Any] = config.pruned
        blocks: Any = self.get_submodule(pruned["blocks"])
        for sublayer in ("attn", "mlp"):
            parts = pruned[sublayer]
            for index in parts["dropped"]:
                drop(blocks[index], sublayer, parts["module"], parts["out"], parts["norms"])
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(blocks)
        renumber_caches(list(blocks), pruned["attn"]["module"], kinds)
