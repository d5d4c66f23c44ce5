"""What each figure reads, and what is exported, as files: input functions; no rules."""

# Every table a figure may read, and the rule that writes it.
TABLES = {
    "model_check": str(rules.check_model.output.check),  # plain: rules flag it `ancient`
    "noise_floor": rules.check_model.output.noise,
    "calibration": rules.sample_calibration.output.calibration,
    "influence": rules.score_influences.output.influence,
    "compression_report": rules.compress_model.output.report,
    "compression_run": rules.compress_model.output.run,
    "dense_answer": rules.generate_dense.output.answers,
    "variant_cost": rules.measure_variant.output.cost,
    "sublayer_trace": rules.trace_sublayers.output.trace,
    "logit_shift": rules.trace_sublayers.output.shift,
    "deviation": rules.estimate_deviations.output.deviation,
    **dict(rules.trace_decoding.output.items()),
    "attention_error": rules.split_attention_error.output.attention_error,
    "decoding_deviation": rules.estimate_decoding.output.deviation,
    "task_scores": rules.run_lm_eval.output.scores,
    "task_samples": rules.run_lm_eval.output.samples,
    "retrieval_scores": rules.run_retrieval.output.scores,
    "retrieval_samples": rules.run_retrieval.output.samples,
    "matched_samples": rules.run_matched_formats.output.samples,
}


def tables_of(figure):
    """Files of every table one figure reads, by table."""
    entry = config["figures"][figure]
    return {table: expand(TABLES[table], **keys) for table, keys in entry["reads"].items()}


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


def every_table(wildcards):
    """All tables in one list: asked for by name, so that one removed by hand is made again."""
    return [file for files in all_tables(wildcards).values() for file in files]


def figure_settings(wildcards):
    """Values of the query's named parameters."""
    return config["figures"][wildcards.figure].get("settings", {})


def figure_fingerprint(wildcards):
    """Code of draw_figure, of this figure's chart and query."""
    pair = experiment.figure_files(wildcards.figure)
    return fingerprint("draw_figure.py", "../reports/macros.sql", *pair)


def pairs_read(*tables):
    """Every (model, variant) whose rows a figure reads from one of these tables."""
    return list(
        dict.fromkeys(
            (model, variant)
            for figure in config["figures"].values()
            for table in tables
            if table in figure["reads"]
            for model in figure["reads"][table]["model"]
            for variant in figure["reads"][table]["variant"]
        )
    )


def traces_read(*tables):
    """Every (model, variant, readout) whose rows a figure reads from one of these tables."""
    return list(
        dict.fromkeys(
            (model, variant, readout)
            for figure in config["figures"].values()
            for table in tables
            if table in figure["reads"]
            for model in figure["reads"][table]["model"]
            for variant in figure["reads"][table]["variant"]
            for readout in figure["reads"][table]["readout"]
        )
    )


def suites_read():
    """Every (model, variant, suite) whose scores or samples a figure reads."""
    return list(
        dict.fromkeys(
            (model, variant, suite)
            for figure in config["figures"].values()
            for table in ("task_scores", "task_samples")
            if table in figure["reads"]
            for model in figure["reads"][table]["model"]
            for variant in figure["reads"][table]["variant"]
            for suite in figure["reads"][table]["suite"]
        )
    )


def models_read():
    """Every model a figure reads."""
    return list(dict.fromkeys(m for figure in config["figures"].values() for m in figure["models"]))


def models_answering():
    """Every model whose dense answers are the context of something a figure reads."""
    tables = ("sublayer_trace", "logit_shift", "deviation", "variant_cost", "attention_error")
    decoded = ("decoding_deviation", *rules.trace_decoding.output.keys())
    return list(dict.fromkeys(model for model, _ in pairs_read(*tables, *decoded)))


def job_timings(wildcards):
    """Files in which Snakemake timed the jobs behind the figures, by rule, in data-flow order."""
    models = {"model": models_read()}
    traced = traces_read("sublayer_trace", "logit_shift", "deviation")
    reports = pairs_read("compression_report", "compression_run")
    measured = pairs_read("variant_cost")
    decoded = pairs_read("decoding_deviation", *rules.trace_decoding.output.keys())
    split = pairs_read("attention_error")
    answered = list(dict.fromkeys([*((m, v) for m, v, _ in traced), *measured, *decoded, *split]))
    evaluated = suites_read()
    matched = pairs_read("matched_samples")
    searched = pairs_read("retrieval_scores", "retrieval_samples")
    pairs = [*searched, *matched, *((model, variant) for model, variant, _ in evaluated)]
    compressed = list(dict.fromkeys([*answered, *reports, *pairs]))
    tasks = [t for *_, s in evaluated for t in config["suites"][s]]
    tasks += config["matched_formats"]["sources"] if matched else []
    return {
        "fetch_model": expand(rules.fetch_model.benchmark, **models),
        "check_model": expand(rules.check_model.benchmark, **models),
        "fetch_corpus": expand(
            rules.fetch_corpus.benchmark, corpus=config["calibration"]["corpus"]
        ),
        "sample_calibration": expand(rules.sample_calibration.benchmark, **models),
        "score_influences": expand(rules.score_influences.benchmark, **models),
        "compress_model": of_pairs(rules.compress_model.benchmark, compressed),
        "generate_dense": expand(
            rules.generate_dense.benchmark,
            model=list(dict.fromkeys(m for m, _ in answered)),
        ),
        "measure_variant": of_pairs(rules.measure_variant.benchmark, measured),
        "trace_sublayers": of_traces(rules.trace_sublayers.benchmark, traced),
        "estimate_deviations": of_traces(
            rules.estimate_deviations.benchmark, traces_read("deviation")
        ),
        "trace_decoding": of_pairs(rules.trace_decoding.benchmark, decoded),
        "split_attention_error": of_pairs(rules.split_attention_error.benchmark, split),
        "estimate_decoding": of_pairs(
            rules.estimate_decoding.benchmark, pairs_read("decoding_deviation")
        ),
        "fetch_task": expand(rules.fetch_task.benchmark, task=list(dict.fromkeys(tasks))),
        "run_lm_eval": [
            expand(rules.run_lm_eval.benchmark, model=model, variant=variant, suite=suite)[0]
            for model, variant, suite in evaluated
        ],
        "fetch_retrieval_set": expand(
            rules.fetch_retrieval_set.benchmark,
            retrieval_set=list(
                dict.fromkeys(
                    s for model, _ in searched for s in config["models"][model]["embedding"]["sets"]
                )
            ),
        ),
        "run_retrieval": of_pairs(rules.run_retrieval.benchmark, searched),
        "run_matched_formats": of_pairs(rules.run_matched_formats.benchmark, matched),
        "draw_figure": expand(rules.draw_figure.benchmark, figure=config["figures"]),
    }


def exported_checkpoints(wildcards):
    """Folders of export_model that config names under `export`."""
    if "export" not in config:
        raise WorkflowError(
            "export: no variant is named. Run `make export VARIANT=...` with a name that stands "
            "under `variants` in config.yaml."
        )
    return expand(rules.export_model.output.checkpoint, **config["export"])


def of_pairs(pattern, pairs):
    """The pattern at every (model, variant)."""
    return [expand(pattern, model=model, variant=variant)[0] for model, variant in pairs]


def of_traces(pattern, traces):
    """The pattern at every (model, variant, readout)."""
    return [
        expand(pattern, model=model, variant=variant, readout=readout)[0]
        for model, variant, readout in traces
    ]
