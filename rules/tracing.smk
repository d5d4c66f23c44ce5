"""What compression does to hidden states, logits and probabilities."""


rule generate_dense:
    """Let the dense model answer every prompt once, greedily: the context of sublayer traces."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
    output:
        answers="<store>/dense_answer/model={model}/part.parquet",
    log:
        "<logs>/generate_dense/{model}.log",
    benchmark:
        "<logs>/generate_dense/{model}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 8
    params:
        prompts=config["prompts"],
        decoding=config["decoding"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("generate_dense.py"),
    script:
        "../scripts/generate_dense.py"


rule measure_variant:
    """Measure what one variant costs and how near its output stays, with dense beside it."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        edit=rules.compress_model.output.edit,
        answers=rules.generate_dense.output.answers,
    output:
        cost="<store>/variant_cost/model={model}/variant={variant}/part.parquet",
    log:
        "<logs>/measure_variant/{model}/{variant}.log",
    benchmark:
        "<logs>/measure_variant/{model}/{variant}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 8
    params:
        method=method_of,
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("measure_variant.py"),
    script:
        "../scripts/measure_variant.py"


rule trace_sublayers:
    """Replace one sublayer at a time by its edited version, on the dense model's context."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        edit=rules.compress_model.output.edit,
        answers=rules.generate_dense.output.answers,
    output:
        trace="<store>/sublayer_trace/model={model}/variant={variant}/part.parquet",
        shift="<store>/logit_shift/model={model}/variant={variant}/part.parquet",
    log:
        "<logs>/trace_sublayers/{model}/{variant}.log",
    benchmark:
        "<logs>/trace_sublayers/{model}/{variant}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 8
    resources:
        logits_mb=config["tracing"]["memory_mb"],  # not a param: a smaller budget gives the same numbers
    params:
        temperatures=config["tracing"]["temperatures"],
        final_norm=config["tracing"]["final_norm"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("trace_sublayers.py"),
    script:
        "../scripts/trace_sublayers.py"
