"""Tables of the stage `theory`: measured deviations with their estimates."""

from prunescope.tables.table import (
    DECODED_KEY,
    FLOAT,
    INT,
    TEMPERATURE,
    TEXT,
    TRACE_KEY,
    Column,
    Table,
)

_ESTIMATE = (
    Column("space", TEXT, "embedding (h), logit (z) or probability (p)"),
    Column("quantity", TEXT, "angular_deviation, kl_divergence or kl_bound"),
    Column("order", INT, "order of the estimate in Δ; NULL for the bound", True),
    Column("measured", FLOAT, "value computed from tensors"),
    Column("estimated", FLOAT, "predicted by Theorem 1, 2 or 3, a higher order or a bound"),
)
"""A measurement and its prediction."""


SUBLAYER_ESTIMATES: tuple[Table, ...] = (
    Table(
        "deviation",
        "One row per (prompt, step, block, sublayer, temperature, quantity, order).",
        ("model", "variant", "readout"),
        (
            *TRACE_KEY,
            TEMPERATURE,
            *_ESTIMATE,
        ),
    ),
)


DECODING_ESTIMATES: tuple[Table, ...] = (
    Table(
        "decoding_deviation",
        "One row per (prompt, sampling_temperature, history, step, temperature, quantity, order).",
        ("model", "variant"),
        (
            *DECODED_KEY,
            TEMPERATURE,
            *_ESTIMATE,
        ),
    ),
)
