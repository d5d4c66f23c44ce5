"""All jobs that run a model depend on this check, as `ancient`, because it changes no result."""


rule check_model:
    """Check that prunescope computes a model correctly, and measure its noise floor."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
    output:
        check="<store>/model_check/model={model}/part.parquet",
        noise="<store>/noise_floor/model={model}/part.parquet",
        surprisal="<store>/surprisal/model={model}/part.parquet",
    log:
        "<logs>/check_model/{model}.log",
    benchmark:
        "<logs>/check_model/{model}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        dtype=lookup("models/{model}/dtype", within=config),
        kind=lookup("models/{model}/kind", within=config, default="causal"),
        code=fingerprint("check_model.py"),
    script:
        "../scripts/check_model.py"
