"""What the theorems predict, from stored statistics alone."""


rule estimate_deviations:
    """Theorems 1 to 3 and the higher orders of KL, beside the measurements."""
    input:
        trace=rules.trace_sublayers.output.trace,
        shift=rules.trace_sublayers.output.shift,
    output:
        deviation="<store>/deviation/model={model}/variant={variant}/part.parquet",
    log:
        "<logs>/estimate_deviations/{model}/{variant}.log",
    benchmark:
        "<logs>/estimate_deviations/{model}/{variant}.seconds.tsv"
    conda:
        "../envs/report.yaml"
    params:
        code=fingerprint("estimate_deviations.py"),
    script:
        "../scripts/estimate_deviations.py"
