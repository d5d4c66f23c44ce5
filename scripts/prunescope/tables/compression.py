"""Tables of the stage `compression`: inputs of methods, their reports and their costs."""

import pyarrow as pa

from prunescope.tables.table import (
    ANSWER,
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
            Column("sequence", INT, "index of the sequence, counted from 0"),
            Column("token_ids", IDS, "tokens of this model's tokenizer"),
            Column("document_ids", pa.list_(TEXT), "documents of the segments, in order"),
            Column("document_offsets", IDS, "token at which each segment starts in its document"),
            Column("segment_starts", IDS, "token at which each segment starts in the sequence"),
        ),
        needs_lm_head=False,
    ),
    Table(
        "influence",
        "One row per sublayer (attn, mlp) and per whole block (block).",
        ("model",),
        (
            Column("block", INT, "transformer block counted from 0"),
            Column("sublayer", TEXT, "attn, mlp, or block for both"),
            Column("influence", FLOAT, "1 - mean over calibration tokens of cos(input, output)"),
            Column("n_tokens", LONG, "number of calibration tokens in the mean"),
        ),
        needs_lm_head=False,
    ),
    Table(
        "removal_score",
        "One row per part that a search may drop and number of parts dropped before.",
        ("model", "selection"),
        (
            Column("n_dropped", INT, "parts that the search had dropped before; 0 in one_shot"),
            Column("block", INT, "transformer block counted from 0"),
            Column("sublayer", TEXT, "attn, mlp, or block for both"),
            Column("score", FLOAT, "mean over scored positions of the criterion: 1 - cos or nats"),
            measure("kl_divergence", "mean KL(p|q) in nats at T = 1; NULL for cosine"),
            measure("var_p", "mean Var_p(Δz) in logits²; NULL for cosine"),
            Column("is_bound", BOOL, "True if not all positions were read: the means are bounds"),
            Column("is_chosen", BOOL, "True if the search dropped it next; False in one_shot"),
            Column("n_tokens", LONG, "number of scored positions"),
        ),
        needs_lm_head=True,
    ),
    Table(
        "selection_answer",
        "One row per prompt of selection_prompts: dense's greedy answer, by which is selected.",
        ("model",),
        ANSWER,
    ),
    Table(
        "compression_report",
        "One row per linear a method edits, or per sublayer or block a drop method ranks.",
        ("model", "variant"),
        (
            Column("method", TEXT, "name of the compression method"),
            Column("block", INT, "transformer block counted from 0"),
            Column("sublayer", TEXT, "attn, mlp, or block for both"),
            Column("linear", TEXT, "name within the block; NULL for a sublayer", True),
            measure("sparsity", "share of zeros in the edited weight; linears only"),
            measure("mean_importance", "mean over weights or neurons of the score that ranks them"),
            measure("relative_output_error", "|(Ŵ-W)X|/|WX|, X calibration inputs; linears only"),
            measure("influence", "the score by which it was ranked; drop methods only"),
            Column("rank", INT, "0 = least influential of those that may be dropped", True),
            Column("removed", BOOL, "True if the variant drops it", True),
            Column("n_drop", INT, "number the variant drops; drop methods only", True),
        ),
        needs_lm_head=False,
    ),
    Table(
        "compression_run",
        "One row per variant: time, memory and tokens that its compression took.",
        ("model", "variant"),
        (
            Column("method", TEXT, "name of the compression method"),
            Column("settings", TEXT, "the variant's settings in config, as JSON"),
            clocked("seconds", FLOAT, "duration of the compression, without loading the model"),
            clocked(
                "peak_memory_mb",
                FLOAT,
                "peak resident memory plus GPU memory, in MB; NULL for drop methods",
                nullable=True,
            ),
            Column("n_tokens", LONG, "calibration tokens given to the method"),
            Column("threads", INT, "number of CPU threads, which decides the order of sums"),
            Column(
                "forward_dtype",
                TEXT,
                "number type of calibration passes; NULL for drop methods",
                True,
            ),
        ),
        needs_lm_head=False,
    ),
)
