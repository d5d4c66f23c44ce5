"""Input functions for the files that figures read and for exports; no rules."""

@functools.cache
def tables_by_path():
    """Each table that a figure can read, with the path that its rule writes."""
    store = Path(config["pathvars"]["store"])
    files = [Path(f) for rule in workflow.rules for f in getattr(rules, rule.name).output]
    in_store = [file for file in files if file.is_relative_to(store)]
    folders = {file.relative_to(store).parts[0]: str(file) for file in in_store}
    return {table: folders[table] for table in schemas.TABLES if table in folders}


def tables_of(figure):
    """Files of all tables that a figure reads, by table, of the first seed."""
    entry = config["figures"][figure]
    return {
        table: expand(tables_by_path()[table], **keys, replicate="")
        for table, keys in entry["reads"].items()
    }


def replicates_of(table, keys):
    """Files of a table with these keys that a further seed changes."""
    path, suffixes = tables_by_path()[table], replicates.suffixes(config)
    if "{replicate}" not in path:
        return []
    if "variant" in keys:
        chosen = [v for v in keys["variant"] if replicates.depends_on_seed(table, v, config)]
        keys = {**keys, "variant": chosen}
    return expand(path, **keys, replicate=suffixes)


def figure_tables(wildcards):
    """Inputs of draw_figure, one named input per table."""
    return tables_of(wildcards.figure)


def claim_tables(wildcards):
    """Inputs of judge_claims: those of draw_figure, and the same tables of further seeds."""
    reads = config["figures"][wildcards.figure]["reads"]
    return {
        table: files + replicates_of(table, reads[table])
        for table, files in tables_of(wildcards.figure).items()
    }


def all_tables(wildcards):
    """Files of all tables that any figure reads, by table; the catalog shows them."""
    found = {}
    for figure in config["figures"]:
        for table, files in tables_of(figure).items():
            found.setdefault(table, set()).update(files)
    return {table: sorted(files) for table, files in found.items()}


def every_table(wildcards):
    """All of these files in one list, as targets, so that one deleted by hand is made again."""
    return [file for files in all_tables(wildcards).values() for file in files]


def items_page(wildcards):
    """The page of items, if a figure reads them."""
    read = {"task_scores", "task_samples"} <= all_tables(wildcards).keys()
    return [rules.build_items.output.page] if read else []


def of_dense(path):
    """The same output for the dense model."""
    return str(path).replace("{variant}{replicate}", "dense")


def scores_of_suite(output, variant="{variant}{replicate}"):
    """Inputs of compare_scores: an output of run_lm_eval for each part of the suite."""
    path = str(getattr(rules.run_lm_eval.output, output)).replace("{variant}{replicate}", variant)

    def files(wildcards):
        parts = suites.parts(config["suites"])[wildcards.suite]
        return [expand(path, **{**dict(wildcards.items()), "suite": part})[0] for part in parts]

    return files


def of_decoded_variants(path):
    """Inputs of correlate_losses: an output for each variant whose estimates the figure reads."""

    def files(wildcards):
        reads = [each["reads"] for each in config["figures"].values()]
        variants = [
            variant
            for tables in reads
            if wildcards.model in tables.get("loss_correlation", {}).get("model", [])
            for variant in tables["decoding_deviation"]["variant"]
        ]
        names = {"model": wildcards.model, "suite": wildcards.suite}
        return expand(path, variant=list(dict.fromkeys(variants)), replicate="", **names)

    return files


def figure_settings(wildcards):
    """Values of the named parameters of the query."""
    return config["figures"][wildcards.figure].get("settings", {})


def figure_fingerprint(wildcards):
    """Fingerprint of draw_figure, and of the chart and query of the figure."""
    pair = experiment.figure_files(wildcards.figure)
    return fingerprint("draw_figure.py", "../reports/macros.sql", *pair)


def section_of_figure(wildcards):
    """Category of a figure in `snakemake --report`: the section of the page that shows it."""
    return contents.heading_of(wildcards.figure)


def description_of_figure(wildcards):
    """Title and caption of a figure, for `snakemake --report`."""
    return contents.described(paths.REPORTS / "figures" / f"{wildcards.figure}.py")


def figures_with_claims():
    """The figures by whose tables claims are judged."""
    return [figure for figure in config["figures"] if claims.of_figure(figure)]


def claims_of_figure(wildcards):
    """The claims that are judged by the figure's tables, as reports/claims.yaml states them."""
    return [claim.model_dump() for claim in claims.of_figure(wildcards.figure)]


def claims_fingerprint(wildcards):
    """Code of judge_claims and of the queries of the figure's claims."""
    files = [claim.query_file for claim in claims.of_figure(wildcards.figure)]
    queries = [f"../reports/claims/{file.name}" for file in files]
    return fingerprint("judge_claims.py", "../reports/macros.sql", *queries)


def surprisals_of_figure(wildcards):
    """How well each model of the figure predicts text."""
    models = config["figures"][wildcards.figure]["models"]
    return expand(rules.check_model.output.surprisal, model=models)


def pairs_read(*tables):
    """Each (model, variant) whose rows a figure reads from one of these tables."""
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


def models_read():
    """Each model that a figure reads."""
    return list(dict.fromkeys(m for figure in config["figures"].values() for m in figure["models"]))


def tables_from_answers():
    """Tables that are computed from the dense model's answers, directly or through other tables."""
    answers, made = rules.generate_dense.output.answers, set()
    while True:
        more = {
            file
            for reader in (getattr(rules, rule.name) for rule in workflow.rules)
            if (made | {answers}).intersection(map(str, reader.input))
            for file in reader.output
        }
        if more <= made:
            return [table for table, file in tables_by_path().items() if file in made]
        made |= more


def models_answering():
    """Each model whose dense answers are the context of a table that a figure reads."""
    return list(dict.fromkeys(model for model, _ in pairs_read(*tables_from_answers())))


def timed_rules():
    """Folders with the timings of jobs, one per rule, in the order of the data flow."""
    return [
        f"{config['pathvars']['logs']}/{rule.name}" for rule in workflow.rules if rule.benchmark
    ]


def exported_checkpoints(wildcards):
    """Outputs of export_model for the variants in section `export` of config."""
    if "export" not in config:
        raise WorkflowError(
            "export: no variant is named. Run `make export VARIANT=...` with a name that stands "
            "under `variants` in config.yaml."
        )
    asked = {key: config["export"][key] for key in ("model", "variant")}
    return expand(rules.export_model.output.checkpoint, **asked, replicate="")


def advised_on(task):
    """The table that compares scores on a kind of task, and what else is in its path."""
    if task == "retrieval":
        return "retrieval_difference", {}
    suites = [
        suite
        for entry in config["figures"].values()
        for suite in entry["reads"].get("score_difference", {}).get("suite", [])
    ]
    return "score_difference", {"suite": suites[0]} if suites else {}


def advised_variants(wildcards):
    """The variants of a model whose scores a figure compares with dense's."""
    table, keys = advised_on(wildcards.task)
    suite = keys.get("suite")
    reads = [entry["reads"].get(table, {}) for entry in config["figures"].values()]
    found = [
        variant
        for read in reads
        if wildcards.model in read.get("model", []) and (not suite or suite in read["suite"])
        for variant in read["variant"]
        if variant != "dense"
    ]
    return list(dict.fromkeys(found))


def advice_tables(wildcards):
    """Inputs of write_advice, one named input per table, one file per variant."""
    table, keys = advised_on(wildcards.task)
    variants = advised_variants(wildcards)
    if table not in tables_by_path() or not variants:
        raise WorkflowError(
            f"advise: no figure compares variants of {wildcards.model} on {wildcards.task} tasks. "
            f"Let one read {table} of this model, or ask for another task."
        )
    names = (table, "variant_cost", "compression_run", "compression_report")
    return {
        name: expand(
            tables_by_path()[name],
            model=wildcards.model,
            variant=variants,
            replicate="",
            **(keys if name == table else {}),
        )
        for name in names
    }


def advice_asked_for(wildcards):
    """Output of write_advice for the question in section `advise` of config."""
    if "advise" not in config:
        raise WorkflowError(
            "advise: no task is named. Run `make advise TASK=multiple-choice`, or generation, or "
            "retrieval."
        )
    asked = config["advise"]
    return expand(
        rules.write_advice.output.advice,
        model=config["default_model"],
        task=asked["task"],
        save=asked.get("save", "memory"),
    )


def print_advice():
    """Print the answer to `make advise`, after the messages of the run."""
    for file in advice_asked_for(None):
        sys.stdout.write(f"\n{Path(file).read_text(encoding='utf-8')}")


def report_what_there_is():
    """After a failed run, build the report without the missing figures, and with the reasons."""
    unmade = set(workflow.dag.needrun_jobs())
    page = next((job for job in unmade if job.rule.name == "build_report"), None)
    if page is None:
        return
    import build_report  # not before: it reads libraries that only the report needs

    drawing = {job.output.figure: job for job in unmade if job.rule.name == "draw_figure"}
    stale = {file for job in unmade for file in job.output}

    def is_made(file):
        """Whether a file exists; False if it was found damaged in this run and set aside."""
        return file not in stale and Path(file).exists()

    def reasons(file):
        if file not in drawing:
            return ["a further run: its file was damaged and has been set aside"]
        stopped = stopped_at(drawing[file], workflow.dag.dependencies.get, unmade)
        return [f"{' '.join([job.rule.name, *job.wildcards])} (log: {job.log})" for job in stopped]

    figures = dict(zip(config["figures"], page.input.figures))
    missing = {name: reasons(file) for name, file in figures.items() if not is_made(file)}
    try:
        build_report.incomplete(page, is_made, missing)
    except progress.JobError as error:
        raise WorkflowError(f"The report is left as it was: {error}") from None
