"""What samples say about all items and prompts: differences from dense, verdicts on claims."""


rule compare_scores:
    """Compare one variant's task scores with dense's, item by item."""
    input:
        dense_scores=scores_of_suite("scores", variant="dense"),
        dense_samples=scores_of_suite("samples", variant="dense"),
        scores=scores_of_suite("scores"),
        samples=scores_of_suite("samples"),
    output:
        differences="<store>/score_difference/model={model}/variant={variant}{replicate}/suite={suite}/part.parquet",
    log:
        "<logs>/compare_scores/{model}/{variant}{replicate}/{suite}.log",
    benchmark:
        "<logs>/compare_scores/{model}/{variant}{replicate}/{suite}.seconds.tsv"
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        seed=config["seeds"][0],
        code=fingerprint("compare_scores.py"),
    script:
        "../scripts/compare_scores.py"


rule compare_retrieval:
    """Compare one variant's retrieval scores with dense's, query by query."""
    input:
        dense_samples=of_dense(rules.run_retrieval.output.samples),
        samples=rules.run_retrieval.output.samples,
        scores=rules.run_retrieval.output.scores,
        qrels=lambda wildcards: expand(
            rules.fetch_retrieval_set.output.qrels, retrieval_set=retrieval_sets_of(wildcards)
        ),
    output:
        differences="<store>/retrieval_difference/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/compare_retrieval/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/compare_retrieval/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        sets=retrieval_settings,
        seed=config["seeds"][0],
        code=fingerprint("compare_retrieval.py"),
    script:
        "../scripts/compare_retrieval.py"


rule compare_formats:
    """Compare one variant with dense on the same questions in each format, item by item."""
    input:
        dense_samples=of_dense(rules.run_matched_formats.output.samples),
        samples=rules.run_matched_formats.output.samples,
    output:
        differences="<store>/format_difference/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/compare_formats/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/compare_formats/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        seed=config["seeds"][0],
        code=fingerprint("compare_formats.py"),
    script:
        "../scripts/compare_formats.py"


rule average_histories:
    """Average what each history adds to Δz and to KL over steps, then over prompts."""
    input:
        history_term=rules.trace_decoding.output.history_term,
        decoding_trace=rules.trace_decoding.output.decoding_trace,
        noise_floor=rules.check_model.output.noise,
    output:
        effects="<store>/history_effect/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/average_histories/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/average_histories/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        code=fingerprint(
            "average_histories.py",
            "../reports/macros.sql",
            "../reports/views/prompt_histories.sql",
        ),
    script:
        "../scripts/average_histories.py"


rule correlate_losses:
    """Correlate what predicts a loss of score with the loss, over the variants of one model."""
    input:
        decoding_deviation=of_decoded_variants(rules.estimate_decoding.output.deviation),
        score_difference=of_decoded_variants(rules.compare_scores.output.differences),
        compression_run=of_decoded_variants(rules.compress_model.output.run),
        noise_floor=[rules.check_model.output.noise],
    output:
        correlations="<store>/loss_correlation/model={model}/suite={suite}/part.parquet",
    log:
        "<logs>/correlate_losses/{model}/{suite}.log",
    benchmark:
        "<logs>/correlate_losses/{model}/{suite}.seconds.tsv"
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        code=fingerprint(
            "correlate_losses.py",
            "../reports/macros.sql",
            "../reports/views/predicted_losses.sql",
        ),
    script:
        "../scripts/correlate_losses.py"


rule judge_claims:
    """Compare the claims of one figure with its tables: they hold, fail or stay undecided."""
    input:
        unpack(claim_tables),
        trained=surprisals_of_figure,
    output:
        verdicts="<store>/claim_verdict/figure={figure}/part.parquet",
    log:
        "<logs>/judge_claims/{figure}.log",
    benchmark:
        "<logs>/judge_claims/{figure}.seconds.tsv"
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        settings=figure_settings,
        claims=claims_of_figure,
        code=claims_fingerprint,
    script:
        "../scripts/judge_claims.py"
