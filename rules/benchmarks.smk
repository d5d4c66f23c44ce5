"""What compression does to tasks, on the field's own harnesses."""


rule run_lm_eval:
    """Evaluate every task of one suite on one variant, by lm-eval, with one load of the model."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        rows=lambda wildcards: ancient(
            expand(rules.fetch_task.output.rows, task=config["suites"][wildcards.suite])
        ),
        manifests=lambda wildcards: expand(
            rules.fetch_task.output.manifest, task=config["suites"][wildcards.suite]
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
    threads: config["threads"]
    resources:
        **request("long"),
    params:
        tasks=suite_settings,
        batch_size=config["benchmarks"]["batch_size"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=suite_fingerprint,
    script:
        "../scripts/run_lm_eval.py"


rule run_matched_formats:
    """Ask one variant the same items as retrieval, multiple choice and generation."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        rows=ancient(
            expand(rules.fetch_task.output.rows, task=config["matched_formats"]["sources"])
        ),
        manifests=expand(
            rules.fetch_task.output.manifest, task=config["matched_formats"]["sources"]
        ),
    output:
        samples="<store>/matched_samples/model={model}/variant={variant}/part.parquet",
    log:
        "<logs>/run_matched_formats/{model}/{variant}.log",
    benchmark:
        "<logs>/run_matched_formats/{model}/{variant}.seconds.tsv"
    conda:
        "../envs/benchmarks.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        sources=config["matched_formats"]["sources"],
        n_candidates=config["matched_formats"]["n_candidates"],
        batch_size=config["benchmarks"]["batch_size"],
        run_code=config["benchmarks"]["run_code"],
        seed=config["seed"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("run_matched_formats.py"),
    script:
        "../scripts/run_matched_formats.py"
