"""What compression does to tasks, on the field's own harnesses."""


rule run_lm_eval:
    """Evaluate every task of one suite on one variant, by lm-eval, with one load of the model."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        edit=rules.compress_model.output.edit,
        rows=lambda wildcards: expand(
            rules.fetch_task.output.rows, task=config["suites"][wildcards.suite]
        ),
    output:
        scores="<store>/task_scores/model={model}/variant={variant}/suite={suite}/part.parquet",
        samples="<store>/task_samples/model={model}/variant={variant}/suite={suite}/part.parquet",
    log:
        "<logs>/run_lm_eval/{model}/{variant}/{suite}.log",
    benchmark:
        "<logs>/run_lm_eval/{model}/{variant}/{suite}.seconds.tsv"
    conda:
        "../envs/benchmarks.yaml"
    threads: 8
    params:
        tasks=suite_settings,
        batch_size=config["benchmarks"]["batch_size"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=suite_fingerprint,
    script:
        "../scripts/run_lm_eval.py"
