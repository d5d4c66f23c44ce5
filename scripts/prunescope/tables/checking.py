"""Tables of the stage `checking`: checks of a dense model, and its noise floor."""

from prunescope.tables.table import BOOL, FLOAT, INT, TEXT, Column, Table, measure

TABLES: tuple[Table, ...] = (
    Table(
        "model_check",
        "One row per check: what prunescope reads of a model, against what the model computes.",
        ("model",),
        (
            Column("check", TEXT, "what was compared"),
            Column("measured", FLOAT, "largest relative difference of any position, or a count"),
            Column("tolerance", FLOAT, "what it may be at most"),
            Column("passed", BOOL, "True where it is within the tolerance"),
            Column("remedy", TEXT, "what to do where it is not"),
        ),
    ),
    Table(
        "noise_floor",
        "One row per (comparison, place, space): dense against itself where only rounding differs.",
        ("model",),
        (
            Column("comparison", TEXT, "the two ways in which the same text was computed"),
            Column("dtype", TEXT, "number type of the model's weights"),
            Column(
                "readout", TEXT, "of a state between blocks; NULL is the model's own output", True
            ),
            Column("block", INT, "block whose sublayer wrote the state; NULL likewise", True),
            Column("sublayer", TEXT, "attn or mlp; NULL likewise", True),
            Column("space", TEXT, "embedding (h), logit or probability"),
            Column("n_positions", INT, "positions compared"),
            Column("mean_angular_deviation", FLOAT, "mean over positions of 1 - cos"),
            Column("max_angular_deviation", FLOAT, "largest of them"),
            measure("mean_kl_divergence", "mean over positions of KL in nats, p only, T = 1"),
            measure("max_kl_divergence", "largest of them"),
            Column(
                "n_disagreements",
                INT,
                "positions at which the likeliest tokens differ; NULL between blocks",
                True,
            ),
        ),
    ),
)
