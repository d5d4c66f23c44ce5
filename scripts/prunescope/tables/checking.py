"""Tables of the stage `checking`: checks of a dense model, and its noise floor."""

from prunescope.tables.table import BOOL, FLOAT, INT, TEXT, Column, Table, measure

TABLES: tuple[Table, ...] = (
    Table(
        "model_check",
        "One row per check: values that prunescope reads, compared with those the model computes.",
        ("model",),
        (
            Column("check", TEXT, "what was compared"),
            Column("measured", FLOAT, "largest relative difference over all positions, or a count"),
            Column("tolerance", FLOAT, "largest value that passes"),
            Column("passed", BOOL, "True if it is within the tolerance"),
            Column("remedy", TEXT, "what to do if it is not"),
        ),
        needs_lm_head=False,
    ),
    Table(
        "noise_floor",
        "One row per (comparison, state, space): dense against itself; only rounding differs.",
        ("model",),
        (
            Column("comparison", TEXT, "the two ways of computing the same text"),
            Column("dtype", TEXT, "number type of the model's weights"),
            Column("readout", TEXT, "lm_head or final_norm; NULL for the model's output", True),
            Column("block", INT, "block that wrote the state; NULL for the model's output", True),
            Column("sublayer", TEXT, "sublayer that wrote it, attn or mlp; NULL likewise", True),
            Column("space", TEXT, "embedding (h), logit or probability"),
            Column("n_positions", INT, "positions compared"),
            Column("mean_angular_deviation", FLOAT, "mean over positions of 1 - cos"),
            Column("max_angular_deviation", FLOAT, "largest over positions"),
            measure("mean_kl_divergence", "mean over positions of KL in nats, p only, T = 1"),
            measure("max_kl_divergence", "largest over positions"),
            Column(
                "n_disagreements",
                INT,
                "positions at which the most likely tokens differ; NULL for a state between blocks",
                True,
            ),
        ),
        needs_lm_head=False,
    ),
    Table(
        "surprisal",
        "One row: how well the model predicts the tokens of a text. No row for an encoder.",
        ("model",),
        (
            Column("n_tokens", INT, "tokens predicted: all but the first"),
            Column("nats_per_token", FLOAT, "mean over tokens of -log p of the token"),
            Column("standard_error", FLOAT, "standard error of that mean"),
            Column("nats_of_a_guess", FLOAT, "-log p of a uniform guess: log of the vocabulary"),
        ),
    ),
)
