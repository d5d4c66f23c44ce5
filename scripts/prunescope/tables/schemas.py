"""Every Parquet table of the store, by name.

A table is declared once, in the module of the stage that writes it. `store.write` refuses rows that
do not match the declaration, the queries in `reports/` use these names, and the tests bind every
query to empty tables of these types.
"""

from prunescope.tables import checking, compression, evaluation, inference, inputs, theory, tracing
from prunescope.tables.table import Table

SCHEMA_VERSION = "1"
"""Raised when a column changes its meaning; part of the metadata of every artifact."""


PAPERS_READOUT = "lm_head"
"""z = lm_head(h) at every depth, Eq. 2, which figures show unless they say otherwise."""

READOUTS = (PAPERS_READOUT, "final_norm")
"""How states between blocks become logits: by lm_head alone, or by lm_head after the final norm,
which is the usual logit lens."""


_IN_ORDER: tuple[Table, ...] = (
    *inputs.TABLES,
    *checking.TABLES,
    *compression.TABLES,
    *tracing.ANSWERS_AND_COSTS,
    *evaluation.BENCHMARK_TASKS,
    *inference.TABLES,
    *evaluation.MATCHED_FORMATS,
    *tracing.SUBLAYER_TRACES,
    *theory.SUBLAYER_ESTIMATES,
    *tracing.DECODING_TRACES,
    *theory.DECODING_ESTIMATES,
    *tracing.HISTORY_TERMS,
    *tracing.OPTIONS_AND_TEXTS,
    *tracing.ATTENTION_ERRORS,
    *evaluation.RETRIEVAL,
)
"""The order in which the tables are listed."""

TABLES: dict[str, Table] = {table.name: table for table in _IN_ORDER}
