"""The text that compression methods may look at."""


rule sample_calibration:
    """Cut calibration sequences of one length from a corpus, in one model's tokens."""
    input:
        model=ancient(rules.fetch_model.output.model),
        manifest=rules.fetch_model.output.manifest,
        check=ancient(rules.check_model.output.check),
        documents=expand(
            rules.fetch_corpus.output.documents, corpus=config["calibration"]["corpus"]
        ),
    output:
        calibration="<store>/calibration/model={model}/part.parquet",
    log:
        "<logs>/sample_calibration/{model}.log",
    benchmark:
        "<logs>/sample_calibration/{model}.seconds.tsv"
    conda:
        "../envs/torch.yaml"
    resources:
        **request("light"),
    params:
        calibration=config["calibration"],
        seed=config["seed"],
        code=fingerprint("sample_calibration.py"),
    script:
        "../scripts/sample_calibration.py"
