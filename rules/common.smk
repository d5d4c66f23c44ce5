"""Checks and expands config, constrains wildcards, computes fingerprints of code; no rules."""

import functools
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.pathvars import Pathvars

sys.path.insert(0, f"{workflow.basedir}/scripts")

from prunescope.machine import allocator
from prunescope.workflow import (
    experiment,
    forecast,
    lock,
    records,
    replicates,
    scheduling,
    slurm,
    suites,
)
from prunescope.compression import methods, selections
from prunescope.inference import claims
from prunescope import paths, progress
from prunescope.inputs import sources
from prunescope.report import contents
from prunescope.workflow.fingerprint import fingerprint
from prunescope.tables import schemas
from prunescope.workflow.unfinished import stopped_at

size_file = Path(workflow.basedir) / "sizes" / f"{config['size']}.yaml"
if not size_file.is_file():
    sizes = ", ".join(sorted(file.stem for file in size_file.parent.glob("*.yaml")))
    raise WorkflowError(f"config: there is no size {config['size']!r}. Choose one of {sizes}.")


configfile: str(size_file)  # what overlays and the command line say still comes last


try:
    experiment.check_files(workflow.configfiles)
    resolved, notes = experiment.resolve_with_notes(config, workflow.basedir)
    config.update(resolved)
    workflow.pathvars.update(Pathvars.from_config(config))  # a model that was named has its own
    store = config["pathvars"]["store"]
    locks = (".snakemake/prunescope.lock", f"{store}/.lock")
    is_alone = workflow.is_main_process and all(map(lock.is_free, locks))
    if workflow.is_main_process and records.is_foreign(store, ".snakemake"):
        lock.check_free(f"{store}/.lock")  # what another directory is making has no records yet
    planned_on = records.run_state(store) if is_alone else None
    records.take_over(store, ".snakemake")
    if is_alone:
        records.doubt(store, config["pathvars"]["results"], ".snakemake")
        records.restore_times(store)
except (experiment.ConfigError, records.ForeignStoreError, lock.LockedError) as error:
    raise WorkflowError(str(error)) from None

if workflow.is_main_process and notes:
    print("\n".join(f"prunescope: {note}" for note in notes), file=sys.stderr)

os.environ.update(allocator.ENVIRONMENT | os.environ)  # jobs inherit it, but for what is set


onstart:
    try:
        for file in locks:
            lock.hold(file)
        records.check_unchanged(store, planned_on)
    except (lock.LockedError, records.ChangedStoreError) as error:
        raise WorkflowError(str(error)) from None
    scheduling.without_default_rate_limit(workflow)
    if on_slurm():
        slurm.mend_executor()
        jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_norun]
        first = [(job.name, first_request(job)) for job in jobs]
        refused = "\n".join(slurm.refusals(first, offered_shapes()))
        if refused:
            raise WorkflowError(refused)
    elif workflow.executor_plugin.name == "local":
        os.environ[progress.RUN_PROCESS] = str(os.getpid())  # jobs inherit it
    if limited := progress.limited_memory(needed_mb=config["limits"]["mem_mb"]):
        progress.warn(limited)
    records.claim(store, ".snakemake")
    if workflow.is_main_process:
        tell_how_long()


onsuccess:
    records.leave(store, ".snakemake")
    if "advise" in config:
        print_advice()


onerror:
    records.leave(store, ".snakemake")
    report_what_there_is()


wildcard_constraints:
    model=experiment.one_of(config["models"]),
    corpus=experiment.one_of(config["corpora"]),
    variant=experiment.one_of(config["variants"]),
    task=experiment.one_of(config["tasks"]),
    suite=experiment.one_of(config["suites"]),
    selection=experiment.one_of(selections.sizes(config["variants"])),
    retrieval_set=experiment.one_of(config["retrieval_sets"]),
    figure=experiment.one_of(config["figures"]),
    readout=experiment.one_of(schemas.READOUTS),
    replicate=f"(?:{'|'.join(['', *replicates.suffixes(config)])})",


def local_model_files(wildcards):
    """Hashes of the files of a local model, which is fetched again if they change."""
    left_out = sources.NOT_MODEL_FILES + sources.SECOND_COPIES
    source = config["models"][wildcards.model]["source"]
    return sources.listing(source, sources.MODEL_FILES, without=left_out)


def local_corpus_files(wildcards):
    """Hashes of the files of a local corpus."""
    return sources.listing(config["corpora"][wildcards.corpus]["source"])


def local_task_files(wildcards):
    """Hashes of the files of a local task, by split."""
    rows = config["tasks"][wildcards.task]["rows"]
    return {entry["split"]: sources.listing(entry["source"]) for entry in rows}


def local_retrieval_files(wildcards):
    """Hashes of the files of a local retrieval set, by kind of content."""
    entry = config["retrieval_sets"][wildcards.retrieval_set]
    return {key: sources.listing(entry[key]) for key in ("source", "qrels") if key in entry}


def retrieval_source(wildcards):
    """Settings that determine the rows of a retrieval set; others belong to the model."""
    entry = config["retrieval_sets"][wildcards.retrieval_set]
    return {key: value for key, value in entry.items() if key not in experiment.ASKING}


def retrieval_sets_of(wildcards):
    """Retrieval sets on which the model is scored."""
    return config["models"][wildcards.model]["embedding"]["sets"]


def retrieval_settings(wildcards):
    """Settings of the queries of each of these sets."""
    return {
        name: {
            key: config["retrieval_sets"][name][key]
            for key in experiment.ASKING
            if key in config["retrieval_sets"][name]
        }
        for name in retrieval_sets_of(wildcards)
    }


def embeddings_dir(wildcards):
    """Folder for the embeddings of a variant; those of large sets are deleted after scoring."""
    store, variant = config["pathvars"]["store"], f"{wildcards.variant}{wildcards.replicate}"
    return f"{store}/embeddings/model={wildcards.model}/variant={variant}"


def seed_of(wildcards):
    """Seed of the calibration text and of sampled answers."""
    return replicates.seed_of(wildcards.replicate, config)


def reads_final_norm(wildcards):
    """Whether logits of states between blocks are computed after the final norm (else Eq. 2)."""
    return wildcards.readout == "final_norm"


def tasks_of_suite(wildcards):
    """Tasks of the suite, or of all suites that it joins."""
    return suites.written_out(config["suites"])[wildcards.suite]


def suite_settings(wildcards):
    """Settings of every task of the suite, without the sources of rows, which fetch_task reads."""
    return {
        name: {key: value for key, value in config["tasks"][name].items() if key != "rows"}
        for name in tasks_of_suite(wildcards)
    }


def suite_fingerprint(wildcards):
    """Fingerprint of run_lm_eval and of our own tasks."""
    own = paths.SCRIPTS.glob("prunescope/evaluation/lm_eval_tasks/[!_.]*")
    return fingerprint("run_lm_eval.py", *(str(f.relative_to(paths.SCRIPTS)) for f in own))


def method_of(wildcards):
    """Compression method of the variant."""
    return config["variants"][wildcards.variant]["method"]


def reads_evidence(name):
    """A condition: whether the method of the variant reads this artifact."""
    return lambda wildcards: name in methods.reads(method_of(wildcards))


def selection_of(wildcards):
    """Name of the search by which the variant chooses what it drops; empty if there is none."""
    selection = selections.of_variant(config["variants"][wildcards.variant])
    return selection.name if selection else ""


def reads_influence(wildcards):
    """Whether the variant ranks by table `influence`, as published."""
    return reads_evidence("influence")(wildcards) and not selection_of(wildcards)


def selects_on_prompts(wildcards):
    """Whether the search reads answers or prompts, and not the calibration text."""
    return selections.named(wildcards.selection).text in selections.NEEDS_PROMPTS


def largest_drop(wildcards):
    """The largest number that a greedy search has to choose; one in one shot chooses none."""
    is_greedy = selections.named(wildcards.selection).search == "greedy"
    return selections.sizes(config["variants"])[wildcards.selection] if is_greedy else 0


def method_fingerprint(wildcards):
    """Fingerprint of compress_model, of the method of this variant, and of its inputs."""
    evidence = ["prunescope/compression/evidence.py"] if reads_evidence("model")(wildcards) else []
    return fingerprint(
        "compress_model.py", f"prunescope/compression/methods/{method_of(wildcards)}.py", *evidence
    )


def tell_how_long():
    """Say what will run and how long about, and from then on how far it is."""
    planned = {
        job: forecast.Job(job.name, dict(job.wildcards_dict), timing_of(job), job.threads)
        for job in workflow.dag.needrun_jobs()
        if not job.is_norun
    }
    if not planned:
        return
    cores = workflow.cores or os.cpu_count()
    jobs = list(planned.values())
    expected = forecast.Forecast(jobs, config, cores, forecast.speed())
    print(f"prunescope: {forecast.announcement(jobs, expected, cores)}", file=sys.stderr)
    forecast.watch(
        expected,
        lambda: {id(each) for job, each in planned.items() if workflow.dag.finished(job)},
    )


def timing_of(job):
    """The file in which Snakemake times a job, if it does."""
    return Path(str(job.benchmark)) if job.benchmark else None


def on_slurm():
    """Whether this process submits jobs to Slurm: not during planning, and not within a job."""
    return workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm"


@functools.cache
def offered_shapes():
    """Nodes of the partition that a profile names, or of all partitions; none without Slurm."""
    if not on_slurm():
        return ()
    defaults = workflow.resource_settings.default_resources
    named = defaults.get("slurm_partition") if defaults else None
    try:
        return tuple(slurm.shapes(named.value if named else None))
    except slurm.ClusterError as error:
        raise WorkflowError(str(error)) from None


def first_request(job):
    """Resources that a job requests, as set by the rule, a profile or the command line."""
    amounts = (job.resources.get(name, 0) for name in ("mem_mb", "runtime", "gpu"))
    return slurm.Request(job.threads, *amounts)


def request(kind):
    """Memory, minutes, GPUs and partition of a kind of rule, as functions of the attempt."""

    def asked(threads, attempt):
        first = slurm.first_request(slurm.NEEDS[kind], threads, config["limits"], offered_shapes())
        return slurm.grown(first, attempt, config["limits"], offered_shapes())

    def partition(wildcards, threads):
        node = slurm.node_for(asked(threads, 1), offered_shapes())
        return node.partition if node else ""

    return {
        "mem_mb": lambda wildcards, threads, attempt: asked(threads, attempt).memory_mb,
        "runtime": lambda wildcards, threads, attempt: asked(threads, attempt).minutes,
        "gpu": lambda wildcards, threads: asked(threads, 1).gpus,
        "slurm_partition": partition,
    }


def all_threads(wildcards):
    """Number of CPUs of the machine, of the node that Slurm will choose, or of the Slurm job."""
    if on_slurm():
        return slurm.most_cpus(slurm.NEEDS["model"], config["limits"], offered_shapes())
    return int(os.environ.get("SLURM_CPUS_PER_TASK", workflow.cores or 1))
