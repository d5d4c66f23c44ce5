"""Calibration, influences, variants (an edit and a report each), and exports."""


rule sample_calibration:
    """Sample calibration sequences of equal length from a corpus, in tokens of one model."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        documents=expand(
            rules.fetch_corpus.output.documents, corpus=config["calibration"]["corpus"]
        ),
    output:
        calibration="<store>/calibration/model={model}{replicate}/part.parquet",
    log:
        "<logs>/sample_calibration/{model}{replicate}.log",
    benchmark:
        "<logs>/sample_calibration/{model}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    resources:
        **request("light"),
    params:
        calibration=config["calibration"],
        seed=seed_of,
        code=fingerprint("sample_calibration.py"),
    script:
        "../scripts/sample_calibration.py"


rule score_influences:
    """Compute the influence of every sublayer and block, in one pass over the calibration text."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        calibration=rules.sample_calibration.output.calibration,
    output:
        influence="<store>/influence/model={model}{replicate}/part.parquet",
    log:
        "<logs>/score_influences/{model}{replicate}.log",
    benchmark:
        "<logs>/score_influences/{model}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        dtype=lookup("models/{model}/dtype", within=config),
        kind=lookup("models/{model}/kind", within=config, default="causal"),
        code=fingerprint("score_influences.py"),
    script:
        "../scripts/score_influences.py"


rule answer_selection_prompts:
    """Generate the dense model's answers to the prompts on which sublayers to drop are chosen."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
    output:
        answers="<store>/selection_answer/model={model}/part.parquet",
    log:
        "<logs>/answer_selection_prompts/{model}.log",
    benchmark:
        "<logs>/answer_selection_prompts/{model}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        prompts=config.get("selection_prompts", {}),
        prompting=config["prompting"],
        max_new_tokens=config["decoding"]["max_new_tokens"],
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("answer_selection_prompts.py"),
    script:
        "../scripts/answer_selection_prompts.py"


rule score_removals:
    """Search the sublayers or blocks whose removal changes the model least, by one selection."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        text=branch(
            selects_on_prompts,
            then=rules.answer_selection_prompts.output.answers,
            otherwise=rules.sample_calibration.output.calibration,
        ),
    output:
        scores="<store>/removal_score/model={model}{replicate}/selection={selection}/part.parquet",
    log:
        "<logs>/score_removals/{model}{replicate}/{selection}.log",
    benchmark:
        "<logs>/score_removals/{model}{replicate}/{selection}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
        logits_mb=config["tracing"]["memory_mb"],
    params:
        n_drop=largest_drop,
        dtype=lookup("models/{model}/dtype", within=config),
        code=fingerprint("score_removals.py"),
    script:
        "../scripts/score_removals.py"


rule compress_model:
    """Compress a dense model by one method, and store only what differs from it."""
    input:
        influence=branch(
            reads_influence, then=rules.score_influences.output.influence, otherwise=[]
        ),
        removal_score=branch(
            selection_of,
            then=lambda wildcards: rules.score_removals.output.scores.replace(
                "{selection}", selection_of(wildcards)
            ),
            otherwise=[],
        ),
        model=branch(
            reads_evidence("model"), then=ancient(rules.fetch_model.output.model), otherwise=[]
        ),
        manifest=branch(
            reads_evidence("model"), then=rules.fetch_model.output.manifest, otherwise=[]
        ),
        calibration=branch(
            reads_evidence("calibration"),
            then=rules.sample_calibration.output.calibration,
            otherwise=[],
        ),
    output:
        edit="<store>/edits/model={model}/variant={variant}{replicate}/edit.safetensors",
        report="<store>/compression_report/model={model}/variant={variant}{replicate}/part.parquet",
        run="<store>/compression_run/model={model}/variant={variant}{replicate}/part.parquet",
    log:
        "<logs>/compress_model/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/compress_model/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: branch(reads_evidence("model"), then=config["threads"], otherwise=1)
    resources:
        **request("model"),
    params:
        settings=lookup("variants/{variant}", within=config),
        dtype=lookup("models/{model}/dtype", within=config),
        kind=lookup("models/{model}/kind", within=config, default="causal"),
        forward_dtype=branch(
            reads_evidence("model"), then=config["compression"]["forward_dtype"], otherwise="none"
        ),
        code=method_fingerprint,
    script:
        "../scripts/compress_model.py"


rule export_model:
    """Write a variant as a checkpoint for transformers, and check that its logits are equal."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        edit=rules.compress_model.output.edit,
    output:
        checkpoint=directory("<results>/exports/{model}/{variant}{replicate}"),
    log:
        "<logs>/export_model/{model}/{variant}{replicate}.log",
    benchmark:
        "<logs>/export_model/{model}/{variant}{replicate}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    threads: config["threads"]
    resources:
        **request("model"),
    params:
        settings=lookup("variants/{variant}", within=config),
        prompts=config["prompts"],
        prompting=config["prompting"],
        dtype=lookup("models/{model}/dtype", within=config),
        form=config.get("export", {}).get("form", "small"),
        calibration=config["calibration"],
        seed=seed_of,
        code=fingerprint("export_model.py"),
    script:
        "../scripts/export_model.py"
