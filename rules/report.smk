"""Tables to figures, figures and verdicts to one page, and the store as a database."""


rule draw_figure:
    """Run the query of a figure and draw its rows, as a Vega-Lite specification with data."""
    input:
        unpack(figure_tables),
    output:
        figure="<results>/figures/{figure}.json",
        files=report(
            directory("<results>/figures/{figure}"),
            patterns=["{width}.svg"],
            caption="../reports/snakemake/figure.rst",
            category=section_of_figure,
            labels={"figure": "{figure}", "width": "{width}"},
        ),
    log:
        "<logs>/draw_figure/{figure}.log",
    benchmark:
        "<logs>/draw_figure/{figure}.seconds.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        **request("light"),
    params:
        settings=figure_settings,
        description=description_of_figure,
        code=figure_fingerprint,
    script:
        "../scripts/draw_figure.py"


rule build_report:
    """Combine figures, findings and provenance in one page that needs no network."""
    input:
        unpack(all_tables),
        figures=expand(rules.draw_figure.output.figure, figure=config["figures"]),
        manifests=expand(rules.fetch_model.output.manifest, model=models_read()),
        answers=expand(rules.generate_dense.output.answers, model=models_answering(), replicate=""),
        claim_verdict=expand(rules.judge_claims.output.verdicts, figure=figures_with_claims()),
    output:
        report=report(
            "<results>/report.html",
            caption="../reports/snakemake/page.rst",
            category="Pages",
            labels={"page": "report"},
        ),
    log:
        "<logs>/build_report.log",
    benchmark:
        "<logs>/build_report.seconds.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        **request("light"),
    params:
        timed=timed_rules(),  # no inputs: a lost log must not re-run the job it timed
        settings={
            key: config[key]
            for key in ("seeds", "calibration", "decoding", "texts", "tracing", "prompts")
        },
        code=fingerprint(
            "build_report.py",
            "../reports/report.html.j2",
            "../reports/sections.yaml",
            "../reports/claims.yaml",
            "../reports/report.js",
            "../reports/style.css",
        ),
    script:
        "../scripts/build_report.py"


rule build_items:
    """Put items that variants answer better or worse than dense on a page of their own."""
    input:
        scores=lambda wildcards: all_tables(wildcards)["task_scores"],
        samples=lambda wildcards: all_tables(wildcards)["task_samples"],
    output:
        page=report(
            "<results>/items.html",
            caption="../reports/snakemake/items.rst",
            category="Pages",
            labels={"page": "changed answers"},
        ),
    log:
        "<logs>/build_items.log",
    benchmark:
        "<logs>/build_items.seconds.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        **request("light"),
    params:
        code=fingerprint(
            "build_items.py",
            "../reports/items.sql",
            "../reports/items.html.j2",
            "../reports/items.js",
            "../reports/style.css",
        ),
    script:
        "../scripts/build_items.py"


rule build_bundle:
    """Put the data of every figure and every verdict into a folder to take away."""
    input:
        figures=rules.build_report.input.figures,
        verdicts=rules.build_report.input.claim_verdict,
    output:
        bundle=directory("<results>/bundle"),
    log:
        "<logs>/build_bundle.log",
    benchmark:
        "<logs>/build_bundle.seconds.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        **request("light"),
    params:
        code=fingerprint("build_bundle.py", "../reports/claims.yaml"),
    script:
        "../scripts/build_bundle.py"


rule build_catalog:
    """Make a DuckDB database of the store, with one view per table."""
    input:
        unpack(all_tables),
        claim_verdict=rules.build_report.input.claim_verdict,
    output:
        catalog="<store>/catalog.duckdb",
    log:
        "<logs>/build_catalog.log",
    benchmark:
        "<logs>/build_catalog.seconds.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        **request("light"),
    params:
        code=fingerprint("build_catalog.py"),
    script:
        "../scripts/build_catalog.py"


rule write_advice:
    """Say which variants lose little on one kind of task, what they save, and how sure that is."""
    input:
        unpack(advice_tables),
    output:
        advice="<results>/advice/{model}/{task}-{save}.txt",
    log:
        "<logs>/write_advice/{model}/{task}-{save}.log",
    benchmark:
        "<logs>/write_advice/{model}/{task}-{save}.seconds.tsv"
    wildcard_constraints:
        task="multiple-choice|generation|retrieval",
        save="memory|kv|speed",
    conda:
        "../envs/inference.yaml"
    resources:
        **request("light"),
    params:
        variants=advised_variants,
        max_loss=config.get("advise", {}).get("max_loss", 0.05),
        code=fingerprint("write_advice.py"),
    script:
        "../scripts/write_advice.py"
