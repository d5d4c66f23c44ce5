"""Effects of compression on hidden states, logits and probabilities."""


rule generate_dense:
    """Generate the dense model's answers, greedy and sampled, which are the context of traces."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
    output:
        answers="<store>/dense_answer/model={model}{replicate}/part.parquet",
    log:
        "<logs>/generate_dense/{model}{replicate}.log",
    benchmark:
        "<logs>/generate_dense/{model}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        prompts=config["prompts"],
        prompting=config["prompting"],
        decoding=config["decoding"],
        seed=seed_of,
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("generate_dense.py"),
    script:
        "../scripts/generate_dense.py"


rule measure_variant:
    """Measure the size and speed of a variant and of dense, and the similarity of their outputs."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        answers=rules.generate_dense.output.answers,
    output:
        cost="<store>/variant_cost/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/measure_variant/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/measure_variant/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: all_threads  # a speed is measured with nothing beside it
    resources:
        **request("model"),
        slurm_extra="--exclusive",
    params:
        method=method_of,
        dtype=lookup("models/{model}/dtype", within=config),
        steps=config["tracing"]["steps"],
        code=fingerprint("measure_variant.py"),
    script:
        "../scripts/measure_variant.py"


rule trace_sublayers:
    """Trace the effect of each edited sublayer alone, on the dense model's context."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        answers=rules.generate_dense.output.answers,
    output:
        trace="<store>/sublayer_trace/model={model}/variant={variant}{replicate}/readout={readout}/part.parquet",
        shift="<store>/logit_shift/model={model}/variant={variant}{replicate}/readout={readout}/part.parquet",
    log:
        "<logs>/trace_sublayers/{model}/{variant}{replicate}/{readout}.log",
    benchmark:
        "<logs>/trace_sublayers/{model}/{variant}{replicate}/{readout}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        temperatures=config["tracing"]["temperatures"],
        final_norm=reads_final_norm,
        steps=config["tracing"]["steps"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("trace_sublayers.py"),
    script:
        "../scripts/trace_sublayers.py"


rule trace_decoding:
    """Trace one variant during decoding: four histories, options, and its texts."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        answers=rules.generate_dense.output.answers,
    output:
        decoded_step="<store>/decoded_step/model={model}/variant={variant}{replicate}/part.parquet",
        decoding_trace="<store>/decoding_trace/model={model}/variant={variant}{replicate}/part.parquet",
        decoding_shift="<store>/decoding_shift/model={model}/variant={variant}{replicate}/part.parquet",
        history_term="<store>/history_term/model={model}/variant={variant}{replicate}/part.parquet",
        option_trace="<store>/option_trace/model={model}/variant={variant}{replicate}/part.parquet",
        option_agreement="<store>/option_agreement/model={model}/variant={variant}{replicate}/part.parquet",
        top_token="<store>/top_token/model={model}/variant={variant}{replicate}/part.parquet",
        generated_text="<store>/generated_text/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/trace_decoding/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/trace_decoding/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        max_new_tokens=config["decoding"]["max_new_tokens"],
        seed=seed_of,
        temperatures=config["tracing"]["temperatures"],
        thresholds=config["texts"],
        prompting=config["prompting"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("trace_decoding.py"),
    script:
        "../scripts/trace_decoding.py"


rule split_attention_error:
    """Split the error of attention outputs exactly into value path, weight path and interaction."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
        answers=rules.generate_dense.output.answers,
    output:
        attention_error="<store>/attention_error/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/split_attention_error/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/split_attention_error/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("split_attention_error.py"),
    script:
        "../scripts/split_attention_error.py"
