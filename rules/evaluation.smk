"""Scores of variants on benchmark tasks, matched formats and retrieval."""


rule run_lm_eval:
    """Evaluate one variant on all tasks of a suite by lm-eval, loading the model once."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        rows=lambda wildcards: ancient(
            expand(rules.fetch_task.output.rows, task=tasks_of_suite(wildcards))
        ),
        manifests=lambda wildcards: expand(
            rules.fetch_task.output.manifest, task=tasks_of_suite(wildcards)
        ),
    output:
        scores="<store>/task_scores/model={model}/variant={variant}{replicate}/suite={suite}/part.parquet",
        samples="<store>/task_samples/model={model}/variant={variant}{replicate}/suite={suite}/part.parquet",
    log:
        "<logs>/run_lm_eval/{model}/{variant}{replicate}/{suite}.log",
    benchmark:
        "<logs>/run_lm_eval/{model}/{variant}{replicate}/{suite}.seconds.tsv"
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
    """Evaluate one variant on the same items as retrieval, multiple choice and generation."""
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
        samples="<store>/matched_samples/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/run_matched_formats/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/run_matched_formats/{model}/{variant}{replicate}.seconds.tsv"
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
        seed=config["seeds"][0],
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("run_matched_formats.py"),
    script:
        "../scripts/run_matched_formats.py"


rule run_retrieval:
    """Score one variant on all retrieval sets of its model, loading the model once."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        corpus=lambda wildcards: expand(
            rules.fetch_retrieval_set.output.corpus, retrieval_set=retrieval_sets_of(wildcards)
        ),
        queries=lambda wildcards: expand(
            rules.fetch_retrieval_set.output.queries, retrieval_set=retrieval_sets_of(wildcards)
        ),
        qrels=lambda wildcards: expand(
            rules.fetch_retrieval_set.output.qrels, retrieval_set=retrieval_sets_of(wildcards)
        ),
    output:
        scores="<store>/retrieval_scores/model={model}/variant={variant}{replicate}/part.parquet",
        samples="<store>/retrieval_samples/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/run_retrieval/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/run_retrieval/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/retrieval.yaml"
    threads: config["threads"]
    resources:
        **request("long"),
    params:
        keep_embeddings_mb=config["retrieval"]["keep_embeddings_mb"],
        cache_dir=embeddings_dir,  # no output: Snakemake would empty it before each run
        settings=lookup("models/{model}/embedding", within=config),
        sets=retrieval_settings,
        dtype=lookup("models/{model}/dtype", within=config),
        kind=lookup("models/{model}/kind", within=config, default="causal"),
        embedding_code=fingerprint("prunescope/evaluation/text_embedding.py"),
        code=fingerprint("run_retrieval.py"),
    script:
        "../scripts/run_retrieval.py"
