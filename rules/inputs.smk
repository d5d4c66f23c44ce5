"""Models, corpora and tasks from hub, wheel or path: the only rules that use the network."""

from prunescope import sources


def local_model_files(wildcards):
    """Names and sizes of a local model's files: changed ones are fetched again, touched ones not."""
    return sources.listing(config["models"][wildcards.model]["source"], sources.MODEL_FILES)


def local_corpus_files(wildcards):
    """Names and sizes of a local corpus's files."""
    return sources.listing(config["corpora"][wildcards.corpus]["source"])


rule fetch_model:
    """Bring one dense model into the store: safetensors, tokenizer, and a manifest of hashes."""
    output:
        model=directory("<store>/inputs/model={model}"),
        manifest="<store>/inputs/model={model}.json",
    params:
        source=lookup("models/{model}/source", within=config),
        n_blocks=lookup("models/{model}/n_blocks", within=config),
        files=local_model_files,
        code=fingerprint("fetch_model.py"),
    log:
        "<logs>/fetch_model/{model}.log",
    benchmark:
        "<logs>/fetch_model/{model}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    script:
        "../scripts/fetch_model.py"


rule fetch_corpus:
    """Bring the documents of one corpus into the store."""
    output:
        documents="<store>/documents/corpus={corpus}/part.parquet",
    params:
        corpus=lookup("corpora/{corpus}", within=config),
        files=local_corpus_files,
        code=fingerprint("fetch_corpus.py"),
    log:
        "<logs>/fetch_corpus/{corpus}.log",
    benchmark:
        "<logs>/fetch_corpus/{corpus}.seconds.tsv"
    conda:
        "../envs/fetch.yaml"
    script:
        "../scripts/fetch_corpus.py"
