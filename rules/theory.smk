"""Estimates of the theorems, computed from stored statistics alone."""


rule estimate_deviations:
    """Compute the estimates of Theorems 1 to 3 and of higher orders of KL for sublayer traces."""
    input:
        trace=rules.trace_sublayers.output.trace,
        shift=rules.trace_sublayers.output.shift,
    output:
        deviation="<store>/deviation/model={model}/variant={variant}{replicate}/readout={readout}/part.parquet",
    log:
        "<logs>/estimate_deviations/{model}/{variant}{replicate}/{readout}.log",
    benchmark:
        "<logs>/estimate_deviations/{model}/{variant}{replicate}/{readout}.seconds.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        **request("light"),
    params:
        code=fingerprint("estimate_deviations.py"),
    script:
        "../scripts/estimate_deviations.py"


rule estimate_decoding:
    """Compute the same estimates for decoding traces, under every history."""
    input:
        trace=rules.trace_decoding.output.decoding_trace,
        shift=rules.trace_decoding.output.decoding_shift,
    output:
        deviation="<store>/decoding_deviation/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/estimate_decoding/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/estimate_decoding/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        **request("light"),
    params:
        code=fingerprint("estimate_decoding.py"),
    script:
        "../scripts/estimate_decoding.py"
