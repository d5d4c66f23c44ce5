"""All keys of config.yaml, each with its type and a description. Other keys are refused.

These models describe config once its sweeps and names of sets are written out (`sweeps`). What one
key alone cannot tell is checked afterwards, by `references` and `requests`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from prunescope.inputs import documents, retrieval_sets, task_rows
from prunescope.workflow import depth
from prunescope.workflow.fields import (
    AsWritten,
    LocalPath,
    Name,
    Once,
    Positive,
    Root,
    Section,
    Selection,
    Share,
    Text,
    count_or_all,
    index_or,
    not_empty,
    one_of,
)
from prunescope.workflow.method_fields import MethodSettings
from prunescope.workflow.source_fields import ModelSource, Source, WheelFile

# ---- execution --------------------------------------------------------------------------------


class Pathvars(Section):
    """Root folders of all files that the workflow writes."""

    store: Root = Field(description="root of the files that programs read")
    results: Root = Field(description="root of the files that people read")
    logs: Root = Field(description="root of a log and a timing per job")


class Limits(Section):
    """Upper limits of what a job requests from a cluster."""

    mem_mb: int = Field(
        ge=500,
        description="memory per job in megabytes; the first attempt of a job with a model "
        "requests half of it",
    )
    runtime: int = Field(
        ge=1,
        description="minutes per job; the first attempt of a benchmark requests half of it, "
        "others a quarter",
    )
    gpu: int = Field(
        ge=0,
        le=1,
        description="GPUs per job that runs a model, if the cluster has any; 0 for CPUs only",
    )


# ---- models and calibration -------------------------------------------------------------------


class Embedding(Section):
    """How a model embeds texts, that is, maps each to a vector."""

    pooling: Literal["mean", "last_token"] = Field(
        description="mean over the tokens, or last_token"
    )
    normalize: bool = Field(
        description="true scales every vector to length 1, so that scores are cosines"
    )
    max_length: int = Field(
        ge=2,
        description="greatest length in tokens, with special tokens; longer texts are truncated",
    )
    query_instruction: Annotated[str, StringConstraints(pattern=r"\{query\}")] | None = Field(
        None,
        description="template of queries with {query}, and optionally {instruction} for that of "
        "the set",
    )
    starts_with: Text | None = Field(None, description="text put before every query and document")
    ends_with: Text | None = Field(
        None,
        description="text or special token at the end of every query and document, also of "
        "truncated ones",
    )
    sets: Annotated[
        list[Annotated[str, Field(description="name of a retrieval set")]],
        Field(min_length=1),
        Once,
    ] = Field(description="names of retrieval sets, each once")


class Model(Section):
    """One dense model."""

    source: ModelSource = Field(description="where the weights and the tokenizer come from")
    n_blocks: int | None = Field(
        None,
        ge=1,
        description="number of transformer blocks. It is read from the model; if given, it is "
        "compared with the model, and blocks can be checked before the model is fetched",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="number type of the weights in forward passes"
    )
    kind: Literal["causal", "encoder"] = Field(
        "causal",
        description="causal for a language model (the default), or encoder for a model without "
        "lm_head, which only embeds texts",
    )
    embedding: Embedding | None = Field(
        None,
        description="how the model embeds texts, and the sets on which it is scored",
    )


class Corpus(Section):
    """One collection of documents."""

    source: Source = Field(description="where the documents come from")
    format: Annotated[str, one_of(documents.READERS)] = Field(
        description="how a row becomes a document: `text` takes its column `text` or "
        "`text_column` (a .txt file is one row), `passages` the passage of a benchmark request"
    )
    text_column: str = Field(
        "text", description="column with the document, for format text; the default is `text`"
    )
    n_documents: int | None = Field(
        None,
        ge=1,
        description="number of documents, the first ones; the default is all",
    )


class Calibration(Section):
    """The calibration text of compression methods."""

    corpus: str = Field(description="name of one of the corpora")
    protocol: Literal["window", "packed"] = Field(
        description="window for a random window of a random document that is long enough, as in "
        "the papers, or packed for documents that are joined and then divided"
    )
    n_sequences: int = Field(ge=1, description="number of calibration sequences")
    sequence_length: int = Field(
        ge=1, description="length of every calibration sequence, in tokens"
    )


class Compression(Section):
    """How calibration text is run through a model during compression."""

    forward_dtype: Literal["model", "float32", "bfloat16", "float16"] = Field(
        description="number type of calibration passes, or model for that of the model. The "
        "compressed weights are always those of the model"
    )


# ---- prompts, answers and traces --------------------------------------------------------------


class Prompt(Section):
    """One prompt."""

    kind: Literal["multiple_choice", "arithmetic", "open_ended"] = Field(
        description="form of the answer"
    )
    text: Annotated[str, StringConstraints(pattern=r"\S")] = Field(
        description="message of the user, without the chat template of the model; not blank"
    )


class Prompting(Section):
    """How chat templates render the prompts, independently of the day."""

    date: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"),
    ] = Field(description="date that a template gets as today's, YYYY-MM-DD in quotes")
    chat_template_kwargs: dict[str, Any] = Field(
        description="variables of the template, such as enable_thinking"
    )


class Decoding(Section):
    """How the dense model and variants answer, greedily and sampled."""

    max_new_tokens: int = Field(
        ge=1,
        description="greatest length of an answer in tokens; it ends earlier at an end-of-text "
        "token",
    )
    sampling_temperatures: Annotated[
        list[Annotated[Positive, Field(description="a sampling temperature")]], Once
    ] = Field(
        description="temperatures of further answers besides the greedy one, each once; may be "
        "empty"
    )


class Degenerate(Section):
    """Thresholds above which a text counts as degenerate, compared with that of dense."""

    least_tokens: int = Field(ge=1, description="least length in tokens of a degenerate text")
    longest_loop_share: Share = Field(
        description="share of tokens in the longest loop (immediate repetitions of a phrase), "
        "minus that of dense"
    )
    repeated_ngram_share: Share = Field(
        description="share of 4-grams that have occurred before in the text, minus that of dense"
    )
    perplexity_ratio: Annotated[float, Field(ge=1), AsWritten] = Field(
        description="perplexity of the text divided by that of dense's text, both under the "
        "dense model"
    )


class OffPrompt(Section):
    """Thresholds below which a text counts as one that does not answer its prompt."""

    least_tokens: int = Field(ge=1, description="least length in tokens of an off-prompt text")
    prompt_information: Annotated[float, AsWritten] = Field(
        description="mean log p per token of the text after its prompt minus that after other "
        "prompts, under the dense model, in nats; an off-prompt text has no more than this"
    )


class Texts(Section):
    """How generated texts of variants are classified, from their tokens alone."""

    degenerate: Degenerate = Field(
        description="by how much a degenerate text exceeds that of dense; each threshold alone "
        "suffices"
    )
    off_prompt: OffPrompt = Field(
        description="how little an off-prompt text depends on its prompt; degenerate texts are "
        "not off-prompt"
    )


class Tracing(Section):
    """How perturbations of h, z and p are traced."""

    steps: int = Field(
        ge=1,
        description="number of tokens per answer, the first ones, in sublayer traces and "
        "variant_cost",
    )
    temperatures: Annotated[
        list[Annotated[Positive, Field(description="a temperature")]], Field(min_length=1), Once
    ] = Field(description="values of T in p = softmax(z/T), each once")
    memory_mb: int = Field(
        ge=1,
        description="upper limit of the memory for logits and their statistics, in MiB; it "
        "changes no number",
    )


# ---- benchmarks and retrieval ------------------------------------------------------------------


class TaskSplit(Section):
    """One split of a task."""

    split: Literal["train", "dev", "validation", "test"] = Field(
        description="name of the split in lm-eval"
    )
    source: Source = Field(
        description="source of its rows; the split on the hub has the same name unless one is given"
    )
    format: Annotated[str, one_of(task_rows.FORMATS)] = Field(
        "hub",
        description="how rows are converted to the columns of the hub "
        "(scripts/prunescope/inputs/task_rows.py)",
    )


class Task(Section):
    """One benchmark task, with the prompts, filters and metrics of lm-eval."""

    lm_eval: Text | None = Field(
        None,
        description="name of the task or group in lm-eval; the default is the name of this entry",
    )
    questions: LocalPath | None = Field(
        None,
        description="a file of JSON lines with question, options and answer. All other keys have "
        "defaults then, and suite core gets the task unless another suite names it",
    )
    definition: Text | None = Field(
        None,
        description="a task file of your own in lm-eval's format, without further files. Suite "
        "core gets the task unless another suite names it",
    )
    family: Literal["non_generative", "generative"] = Field(
        description="non_generative for multiple-choice tasks, or generative for generation tasks"
    )
    headline: Text = Field(
        description="the metric of lm-eval that represents the task, as `metric,filter` if it "
        "has a filter"
    )
    n_shot: int = Field(ge=0, description="solved examples before each question")
    limit: Annotated[int | Literal["all"], count_or_all(1)] = Field(
        description="number of items, the first ones of the split (of each task in a group), or all"
    )
    max_new_tokens: int | None = Field(
        None,
        ge=1,
        description="greatest length of an answer in tokens; the default is that of lm-eval",
    )
    subtasks: Text | None = Field(
        None, description="for a group, the column with the task to which a row belongs"
    )
    runs_code: bool = Field(
        default=False, description="true if scoring runs programs that the model wrote"
    )
    rows: Annotated[
        list[Annotated[TaskSplit, Field(description="one split")]], Field(min_length=1)
    ] = Field(
        description="sources of the splits; test is scored, or validation if there is no test"
    )


class Benchmarks(Section):
    """How benchmark tasks are run."""

    batch_size: int = Field(
        ge=1, description="number of texts that are written at once, limited by memory"
    )
    run_code: bool = Field(
        description="true to run programs that a model wrote, in a sandbox from which all "
        "attempts to escape must fail first"
    )


class Retrieval(Section):
    """How retrieval sets are searched."""

    keep_embeddings_mb: int = Field(
        ge=0,
        description="largest size of the embeddings of a set and variant that are kept for the "
        "next run, in 10^6 bytes; larger ones are deleted after scoring, and 0 keeps none",
    )


class RetrievalSet(Section):
    """One retrieval set."""

    source: Source = Field(description="source of the documents and queries")
    format: Annotated[str, one_of(retrieval_sets.READERS)] = Field(
        description="beir for corpus, queries and qrels (configurations on the hub, or files of a "
        "folder), or squad for questions that search the paragraphs about which they were "
        "asked"
    )
    qrels: Source | None = Field(
        None, description="source of the judgements, if they are not with the documents"
    )
    n_queries: int | None = Field(
        None,
        ge=1,
        description="number of queries, the first ones with judgements; the default is all",
    )
    n_documents: int | None = Field(
        None,
        ge=1,
        description="number of documents: the relevant ones and the first others; the default is "
        "all",
    )
    instruction: Text | None = Field(
        None,
        description="what a query searches for, in words, for models that read an instruction",
    )
    queries_are_documents: bool = Field(
        default=False,
        description="true if a query can also be a document of the set, which is then left out "
        "of its results",
    )


class Matched(Section):
    """Items of one data set."""

    n_items: int = Field(
        ge=2,
        description="number of items, drawn at random from the rows such that no two have the "
        "same answer",
    )
    max_new_tokens: int = Field(
        ge=1, description="greatest length of a generated answer, in tokens"
    )


class MatchedSources(Section):
    """Data sets whose items are presented in three formats."""

    _any = model_validator(mode="before")(not_empty)

    squad: Matched | None = Field(None, description="questions about a paragraph")
    gsm8k: Matched | None = Field(None, description="word problems with worked solutions")
    humaneval: Matched | None = Field(
        None, description="functions to complete; scored only if benchmarks/run_code is true"
    )


class MatchedFormats(Section):
    """The same questions as retrieval, multiple choice and generation."""

    n_candidates: int = Field(
        ge=2, description="number of answers to choose from, including the right one"
    )
    sources: MatchedSources = Field(
        description="data sets by the name of their task, which gives the source of the rows"
    )


# ---- exports and figures ----------------------------------------------------------------------


class Export(Section):
    """Variants that `make export` writes as Hugging Face checkpoints."""

    model: Selection | None = Field(
        None,
        description="names of models or of model_sets, or patterns; the default is the default "
        "model",
    )
    variant: Selection = Field(
        description="names of variants or of variant_sets, or patterns such as drop-*a"
    )
    form: Literal["small", "stock"] = Field(
        "small",
        description="small: without the sublayers that the variant drops, loaded with "
        "trust_remote_code; stock: loaded without, but as large and slow as dense",
    )


class Advise(Section):
    """The question of `make advise`: which variants lose little on one kind of task."""

    task: Literal["multiple-choice", "generation", "retrieval"] = Field(
        description="kind of task on which little may be lost"
    )
    max_loss: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="largest accepted loss, a difference of scores from 0 to 1"
    )
    save: Literal["memory", "kv", "speed"] = Field(
        "memory", description="what variants are ranked by: memory, key-value cache or speed"
    )


class Read(Section):
    """Which files of a table a figure reads."""

    model: Selection | None = Field(
        None,
        description="names of models or of model_sets, or patterns; the default is those of the "
        "figure",
    )
    variant: Selection | None = Field(
        None,
        description="names of variants or of variant_sets, or patterns such as drop-*a",
    )
    suite: Selection | None = Field(None, description="names of suites, or patterns")
    selection: Selection | None = Field(
        None,
        description="for removal_score, ways to choose what is dropped, such as "
        "output_kl-own_answers-greedy-mlp, or patterns",
    )
    readout: Selection | None = Field(
        None,
        description="how states between blocks become logits in a sublayer trace: by lm_head "
        "alone (Eq. 2, the default), or after the final_norm, as in the usual logit lens",
    )


class FigureSettings(Section):
    """Settings of the chart and the query of a figure."""

    block: Annotated[int | Literal["middle"], index_or(depth.MIDDLE)] | None = Field(
        None,
        description="index of the transformer block that the figure shows, from 0, or middle for "
        "the middle one of the default model",
    )
    prompt: str | None = Field(
        None, description="id of the prompt that is shown besides the mean over all prompts"
    )
    non_generative: str | None = Field(
        None, description="multiple-choice task to show, from a suite that the figure reads"
    )
    generative: str | None = Field(
        None, description="generation task to show, from a suite that the figure reads"
    )
    max_loss: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="accepted loss of score, as a share (scores are between 0 and 1)",
    )


class Figure(Section):
    """The tables and settings of a figure."""

    reads: Annotated[
        dict[str, Annotated[Read, Field(description="which files of the table")]],
        Field(min_length=1),
    ] = Field(
        description="tables by name (scripts/prunescope/tables/), each with the variants to read"
    )
    models: Selection | None = Field(
        None,
        description="names of models or of model_sets, or patterns, for tables without models of "
        "their own; the default is the default model",
    )
    settings: FigureSettings | None = Field(None, description="settings of the chart and the query")


_Entries = Annotated[dict[str, Any], Field(min_length=1)]


class Replacements(Section):
    """Sections that stand in place of those of config.yaml, instead of being merged with them."""

    prompts: _Entries | None = Field(None, description="all prompts")
    variants: _Entries | None = Field(None, description="all variants")
    tasks: _Entries | None = Field(None, description="all tasks")
    figures: _Entries | None = Field(None, description="all figures")
    corpora: _Entries | None = Field(None, description="all corpora")
    variant_sets: _Entries | None = Field(None, description="all sets of variants")
    suites: _Entries | None = Field(None, description="all suites")


class Removals(Section):
    """Names or patterns of entries to leave out, with what refers to nothing else."""

    prompts: Selection | None = Field(None, description="prompts to leave out")
    variants: Selection | None = Field(None, description="variants to leave out")
    tasks: Selection | None = Field(None, description="tasks to leave out")
    figures: Selection | None = Field(None, description="figures to leave out")
    corpora: Selection | None = Field(None, description="corpora to leave out")
    variant_sets: Selection | None = Field(None, description="sets of variants to leave out")
    suites: Selection | None = Field(None, description="suites to leave out")


_FigureStem = Annotated[str, Field(description="a name, or its first part, such as fig04")]


class Experiment(Section):
    """An experiment: definitions, and the figures, which determine the jobs that run."""

    size: Name = Field(
        "default",
        description="how much is run: quick, default or full, a file in sizes/ that is merged "
        "between config.yaml and overlays",
    )
    model: Text | None = Field(
        None,
        description="the one model to run: a folder as on the hub, a GGUF file, the id of a hub "
        "model, or a name under models. Its entry is written from its config.json, its results "
        "get folders of their own, and figures show it alone (docs/own-model.md)",
    )
    model_name: Name | None = Field(
        None, description="the name of that model; the default is made from its path or id"
    )
    also: Annotated[list[Annotated[str, Field(description="name of a model")]], Once] | None = (
        Field(None, description="further models under models that figures show beside that model")
    )
    replace: Replacements | None = Field(
        None,
        description="sections that stand in place of those of config.yaml, instead of being merged "
        "with them",
    )
    without: Removals | None = Field(
        None, description="entries to leave out, with what refers to nothing else"
    )
    only_figures: Annotated[list[_FigureStem], Field(min_length=1)] | None = Field(
        None, description="the figures to make; all others are left out"
    )
    pathvars: Pathvars = Field(description="root folders of all files that the workflow writes")
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, le=2**63 - 1, description="a seed, below 2^63")]],
        Field(min_length=1),
        Once,
    ] = Field(
        description="seeds of every random choice, each once; the same seed gives the same bytes. "
        "What depends on calibration text or on sampling is repeated with each, and intervals "
        "include how it varies; figures show the first"
    )
    threads: int = Field(
        ge=1,
        description="number of CPU threads of a job that runs a model. A job starts this number "
        "even if Snakemake has fewer cores, because it determines the order of sums and thereby "
        "the last bits of a table. If jobs share a GPU, set it to the number of cores, so that "
        "they run one after another",
    )
    limits: Limits = Field(
        description="upper limits of what a job requests from a cluster; first attempts request "
        "a share of them"
    )
    wheels: dict[Name, WheelFile] | None = Field(
        None, description="Python wheels by name, to which sources refer"
    )
    models: Annotated[dict[Name, Model], Field(min_length=1)] = Field(
        description="dense models by name; a model is run only if a figure reads it"
    )
    default_model: str = Field(description="name of the model for figures that name none")
    model_sets: (
        dict[Name, Annotated[Selection, Field(description="names of models, or patterns")]] | None
    ) = Field(None, description="lists of models by name, to which figures and the export refer")
    corpora: Annotated[dict[Name, Corpus], Field(min_length=1)] = Field(
        description="texts for calibration, by name"
    )
    calibration: Calibration = Field(description="the calibration text of compression methods")
    compression: Compression = Field(
        description="how calibration text is run through a model during compression"
    )
    prompts: Annotated[dict[Name, Prompt], Field(min_length=1)] = Field(
        description="prompts for every traced model, by id; or `from`, a file of JSON lines, each "
        "with text and optionally kind and id, and `most`, how many of them are asked (64)",
        json_schema_extra={
            "properties": {
                "from": {"type": "string", "description": "a file of JSON lines, one per prompt"},
                "most": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "how many prompts of the file are asked, drawn at random; the "
                    "default is 64",
                },
            }
        },
    )
    selection_prompts: dict[Name, Prompt] | None = Field(
        None,
        description="prompts by id on which variants with `text: own_answers` or `text: prompts` "
        "choose what they drop. None may be among `prompts`, on which variants are judged",
    )
    prompting: Prompting = Field(
        description="how chat templates render the prompts; the result does not depend on the day"
    )
    decoding: Decoding = Field(
        description="how the dense model and variants answer, greedily and sampled"
    )
    texts: Texts = Field(
        description="how generated texts of variants are classified, from their tokens alone"
    )
    tracing: Tracing = Field(description="how perturbations of h, z and p are traced")
    variants: Annotated[
        dict[
            Name,
            Annotated[
                MethodSettings,
                Field(
                    description="a method (scripts/prunescope/compression/methods/<method>.py) "
                    "and its settings"
                ),
            ],
        ],
        Field(min_length=1),
    ] = Field(description="compressed models by name")
    variant_sets: (
        dict[Name, Annotated[Selection, Field(description="names of variants, or patterns")]] | None
    ) = Field(None, description="lists of variants by name, to which figures and the export refer")
    tasks: dict[Name, Task] = Field(
        description="benchmark tasks by name; lm-eval runs a task only if a figure reads its suite"
    )
    suites: dict[
        Name,
        Annotated[
            list[Annotated[str, Field(description="name of a task, or of a suite")]],
            Field(min_length=1, description="names of tasks, or of suites to join, each once"),
            Once,
        ],
    ] = Field(
        description="lists of tasks by name; one job evaluates one variant on a whole suite. A "
        "list of suites joins them where scores are compared (table score_difference)"
    )
    benchmarks: Benchmarks = Field(description="how benchmark tasks are run")
    retrieval: Retrieval = Field(description="how retrieval sets are searched")
    retrieval_sets: dict[Name, RetrievalSet] = Field(
        description="documents, queries and judgements by name; a set is searched only by models "
        "that name it"
    )
    matched_formats: MatchedFormats = Field(
        description="the same questions in three formats: retrieval, multiple choice and generation"
    )
    export: Export | None = Field(
        None, description="variants that `make export` writes as Hugging Face checkpoints"
    )
    advise: Advise | None = Field(None, description="the question that `make advise` answers")
    figures: Annotated[dict[Name, Figure], Field(min_length=1)] = Field(
        description="figures by name, each a pair reports/figures/<name>.sql and .py; the tables "
        "that they read determine which jobs run"
    )
