"""Tables to figures, figures to one page, and the store as a database."""

# Every table a figure may read, and the rule that writes it.
TABLES = {
    "influence": rules.score_influences.output.influence,
    "compression_report": rules.compress_model.output.report,
    "dense_answer": rules.generate_dense.output.answers,
    "sublayer_trace": rules.trace_sublayers.output.trace,
    "logit_shift": rules.trace_sublayers.output.shift,
    "deviation": rules.estimate_deviations.output.deviation,
}


def tables_of(figure):
    """Files of every table one figure reads, by table."""
    entry = config["figures"][figure]
    return {
        table: expand(TABLES[table], model=entry["models"], **keys)
        for table, keys in entry["reads"].items()
    }


def figure_tables(wildcards):
    """Inputs of draw_figure, one named input per table."""
    return tables_of(wildcards.figure)


def all_tables(wildcards):
    """Files of every table any figure reads: what the catalog shows."""
    found = {}
    for figure in config["figures"]:
        for table, files in tables_of(figure).items():
            found.setdefault(table, set()).update(files)
    return {table: sorted(files) for table, files in found.items()}


def figure_fingerprint(wildcards):
    """Code of draw_figure, of this figure's chart and query."""
    return fingerprint("draw_figure.py", *experiment.figure_files(wildcards.figure))


rule draw_figure:
    """Run one query, draw its rows: a Vega-Lite specification with its data inside."""
    input:
        unpack(figure_tables),
    output:
        figure="<results>/figures/{figure}.json",
    params:
        settings=lambda wildcards: config["figures"][wildcards.figure].get("settings", {}),
        code=figure_fingerprint,
    log:
        "<logs>/draw_figure/{figure}.log",
    benchmark:
        "<logs>/draw_figure/{figure}.seconds.tsv"
    conda:
        "../envs/report.yaml"
    script:
        "../scripts/draw_figure.py"
