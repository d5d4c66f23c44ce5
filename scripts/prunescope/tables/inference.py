"""Tables of the stage `inference`: differences of scores, with intervals and p values."""

from prunescope.tables.table import INT, TEXT, Column, Table, measure

TABLES: tuple[Table, ...] = (
    Table(
        "score_difference",
        "One row per (scope, name): a variant's headline scores minus dense's on the same items.",
        ("model", "variant", "suite"),
        (
            Column("scope", TEXT, "task; family: mean over its tasks; contrast of both families"),
            Column("name", TEXT, "name of the task, of the family or of the contrast"),
            Column("n_items", INT, "items compared; for a contrast, of the smaller family"),
            measure("dense_score", "score of dense, 0 to 1; NULL for a contrast"),
            measure("score", "score of the variant, 0 to 1; NULL for a contrast"),
            measure("chance", "score of a guess, 0 to 1; NULL for a contrast"),
            measure("difference", "score minus dense_score; for a contrast, of both `kept`"),
            measure("difference_low", "lower end of its 95 % interval, bootstrap over items"),
            measure("difference_high", "upper end of that interval"),
            measure("p_value", "two-sided, of no difference, by exchanges or by the bootstrap"),
            measure("dense_margin_low", "lower end of the interval of dense_score minus chance"),
            measure("kept", "(score - chance) / (dense_score - chance); NULL if dense may guess"),
            measure("kept_low", "lower end of its 95 % interval, bootstrap over items"),
            measure("kept_high", "upper end of that interval"),
        ),
    ),
    Table(
        "claim_verdict",
        "One row per (claim, model, subject): a claim of reports/claims.yaml, judged.",
        ("figure",),
        (
            Column("claim", TEXT, "name of the claim"),
            Column("model", TEXT, "the model that is judged"),
            Column("subject", TEXT, "what the claim is judged for, in words; empty if only once"),
            Column("n", INT, "number of units: prompts, items and so on, as the claim says"),
            measure("value", "the claim's statistic"),
            measure("low", "lower end of its 95 % interval, not corrected for several tests"),
            measure("high", "upper end of that interval"),
            measure("p_value", "two-sided, of the claim's threshold, not corrected"),
            Column("n_tests", INT, "tests of this figure and model, for which p is corrected"),
            measure("p_corrected", "p_value after Holm's correction; NULL if not tested"),
            Column("verdict", TEXT, "holds, fails, undecided or not tested"),
            Column("reason", TEXT, "why there is no verdict; empty if it holds or fails"),
            Column("n_to_decide", INT, "units that would decide, if undecided", True),
        ),
    ),
)
