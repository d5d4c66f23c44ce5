"""Tables of the stage `compression`: what a method reads, what it removed, what it took."""

import pyarrow as pa

from prunescope.tables.table import (
    BOOL,
    FLOAT,
    IDS,
    INT,
    LONG,
    TEXT,
    Column,
    Table,
    clocked,
    measure,
)

TABLES: tuple[Table, ...] = (
    Table(
        "calibration",
        "One row per calibration sequence, all of one length.",
        ("model",),
        (
            Column("sequence", INT, "0-based index"),
            Column("token_ids", IDS, "tokens of this model's tokenizer"),
            Column("document_ids", pa.list_(TEXT), "documents of the segments, in order"),
            Column("document_offsets", IDS, "token at which each segment starts in its document"),
            Column("segment_starts", IDS, "token at which each segment starts in the sequence"),
        ),
    ),
    Table(
        "influence",
        "One row per sublayer (attn, mlp) and per whole block (block).",
        ("model",),
        (
            Column("block", INT, "transformer block counted from 0"),
            Column("sublayer", TEXT, "attn, mlp, or block for both"),
            Column("influence", FLOAT, "1 - mean over calibration tokens of cos(input, output)"),
            Column("n_tokens", LONG, "calibration tokens averaged over"),
        ),
    ),
    Table(
        "compression_report",
        "One row per linear a method edits, or per sublayer or block a drop method ranks.",
        ("model", "variant"),
        (
            Column("method", TEXT, "file in methods/"),
            Column("block", INT, "transformer block counted from 0"),
            Column("sublayer", TEXT, "attn, mlp, or block for both"),
            Column("linear", TEXT, "name within the block; NULL for a sublayer", True),
            measure("sparsity", "share of zeros in the edited weight, linears only"),
            measure("mean_importance", "mean over weights (neurons) of what the method ranks by"),
            measure("relative_output_error", "|(Ŵ-W)X|/|WX|, X calibration inputs, linears only"),
            measure("influence", "the score it was ranked by, drops only"),
            Column("rank", INT, "0 = least influential of those that may be dropped", True),
            Column("removed", BOOL, "True where the variant drops it", True),
            Column("n_drop", INT, "how many the variant drops, drops only", True),
        ),
    ),
    Table(
        "compression_run",
        "One row per variant: what making its edit took.",
        ("model", "variant"),
        (
            Column("method", TEXT, "file in methods/"),
            Column("settings", TEXT, "the variant's settings in config, as JSON"),
            clocked("seconds", FLOAT, "from the method's start to its edit, loading left out"),
            clocked(
                "peak_memory_mb",
                FLOAT,
                "largest resident set, GPU memory added; NULL for drops",
                nullable=True,
            ),
            Column("n_tokens", LONG, "calibration tokens given to the method"),
            Column("threads", INT, "CPU threads: they decide the order of sums"),
            Column("forward_dtype", TEXT, "of calibration passes; NULL for drops", True),
        ),
    ),
)
