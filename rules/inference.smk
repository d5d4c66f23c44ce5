"""What samples say about all items and prompts: differences from dense, verdicts on claims."""


rule compare_scores:
    """Compare one variant's task scores with dense's, item by item."""
    input:
        dense_scores=str(rules.run_lm_eval.output.scores).replace("{variant}", "dense"),
        dense_samples=str(rules.run_lm_eval.output.samples).replace("{variant}", "dense"),
        variant_samples=rules.run_lm_eval.output.samples,
    output:
        differences="<store>/score_difference/model={model}/variant={variant}/suite={suite}/part.parquet",
    log:
        "<logs>/compare_scores/{model}/{variant}/{suite}.log",
    benchmark:
        "<logs>/compare_scores/{model}/{variant}/{suite}.seconds.tsv"
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        seed=config["seed"],
        code=fingerprint("compare_scores.py"),
    script:
        "../scripts/compare_scores.py"


rule judge_claims:
    """Compare the claims of one figure with its tables: they hold, fail or stay undecided."""
    input:
        unpack(figure_tables),
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
