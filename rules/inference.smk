"""What samples of items say about all items: differences from dense, with intervals."""


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
