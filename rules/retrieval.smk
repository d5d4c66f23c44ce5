"""What compression does to embeddings: documents found for queries."""


rule run_retrieval:
    """Score one variant on every retrieval set of its model, with one load of the model."""
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
        scores="<store>/retrieval_scores/model={model}/variant={variant}/part.parquet",
        samples="<store>/retrieval_samples/model={model}/variant={variant}/part.parquet",
    log:
        "<logs>/run_retrieval/{model}/{variant}.log",
    benchmark:
        "<logs>/run_retrieval/{model}/{variant}.seconds.tsv"
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
        embedding_code=fingerprint("prunescope/embedding.py"),
        code=fingerprint("run_retrieval.py"),
    script:
        "../scripts/run_retrieval.py"
