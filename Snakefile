"""Compress a dense model, follow the perturbation through three spaces, compare with theory.

The include order is the data flow: a rule refers only to rules above it.
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/checking.smk"
include: "rules/compression.smk"
include: "rules/tracing.smk"
include: "rules/theory.smk"
include: "rules/evaluation.smk"
include: "rules/reads.smk"
include: "rules/inference.smk"
include: "rules/report.smk"


rule all:
    """The report, its figures and items, the tables behind them, and the store as a database."""
    default_target: True
    input:
        rules.build_report.output.report,
        expand(rules.draw_figure.output.figure, figure=config["figures"]),
        rules.build_catalog.output.catalog,
        items_page,
        rules.build_bundle.output.bundle,
        every_table,


rule export:
    """Checkpoints of the variants that config names under `export`: what `make export` asks for."""
    input:
        exported_checkpoints,


rule advise:
    """The answer to the question that config asks under `advise`: what `make advise` prints."""
    input:
        advice_asked_for,
