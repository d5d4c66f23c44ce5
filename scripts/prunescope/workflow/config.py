"""Every key of config.yaml: its type, its unit, one sentence. What is not here is refused.

These models describe config once its sweeps and names of sets are written out (`sweeps`). What one
key alone cannot tell is checked afterwards, by `references` and `requests`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from prunescope.inputs import documents, retrieval_sets, task_rows
from prunescope.workflow.fields import (
    AsWritten,
    Name,
    Once,
    Positive,
    Root,
    Section,
    Selection,
    Share,
    Text,
    count_or_all,
    not_empty,
    one_of,
)
from prunescope.workflow.method_fields import MethodSettings
from prunescope.workflow.source_fields import ModelSource, Source, WheelFile

# ---- how it runs ------------------------------------------------------------------------------


class Pathvars(Section):
    """Root folders of everything the workflow writes."""

    store: Root = Field(description="root of what machines read")
    results: Root = Field(description="root of what people read")
    logs: Root = Field(description="root of one log and one timing per job")


class Limits(Section):
    """The most that any job asks of a cluster."""

    mem_mb: int = Field(
        ge=500,
        description="memory of one job in megabytes; a job with a model asks for half at first",
    )
    runtime: int = Field(
        ge=1,
        description="minutes of one job; a benchmark asks for half at first, others for a quarter",
    )
    gpu: int = Field(
        ge=0,
        le=1,
        description="GPUs of a job that runs a model, where the cluster has one; 0 keeps to CPUs",
    )


# ---- models and what they are fed --------------------------------------------------------------


class Embedding(Section):
    """How a model turns a text into one vector."""

    pooling: Literal["mean", "last_token"] = Field(
        description="mean over the tokens, or last_token"
    )
    normalize: bool = Field(
        description="true scales every vector to length 1, so that scores are cosines"
    )
    max_length: int = Field(
        ge=2, description="longest text in tokens, special ones included; what is longer is cut"
    )
    query_instruction: Annotated[str, StringConstraints(pattern=r"\{query\}")] | None = Field(
        None, description="what a query is put into: {query}, and {instruction} for the set's own"
    )
    starts_with: Text | None = Field(None, description="text put before every query and document")
    ends_with: Text | None = Field(
        None,
        description="text or special token that ends every query and document, however it was cut",
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
        description="number of transformer blocks, which is read from the model; given, it is "
        "checked against it, and lets a plan check blocks before the model is there",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="number type of the weights during every forward pass"
    )
    kind: Literal["causal", "encoder"] = Field(
        "causal",
        description="causal, a language model (the default), or encoder, a model without lm_head, "
        "which only makes embeddings",
    )
    embedding: Embedding | None = Field(
        None,
        description="how the model turns a text into one vector, and the sets it is scored on",
    )


class Corpus(Section):
    """One collection of documents."""

    source: Source = Field(description="where the documents come from")
    format: Annotated[str, one_of(documents.READERS)] = Field(
        description="how a row becomes a document: text (its column `text`, or `text_column`; a "
        ".txt file is one row) or passages (benchmark requests that hold a passage)"
    )
    text_column: str = Field(
        "text", description="column of format text that holds the document; without it `text`"
    )
    n_documents: int | None = Field(
        None,
        ge=1,
        description="number of documents to take, from the first on; without it all of them",
    )


class Calibration(Section):
    """The text that compression methods may look at."""

    corpus: str = Field(description="name of one of the corpora")
    protocol: Literal["window", "packed"] = Field(
        description="window, a random window of a random document that is long enough (the papers' "
        "way), or packed, documents joined and then cut"
    )
    n_sequences: int = Field(ge=1, description="number of calibration sequences")
    sequence_length: int = Field(
        ge=1, description="length of every calibration sequence, in tokens"
    )


class Compression(Section):
    """How calibration text flows through a model that is compressed."""

    forward_dtype: Literal["model", "float32", "bfloat16", "float16"] = Field(
        description="number type of calibration passes, or model for the model's own; what is "
        "compressed is always the model's own weights"
    )


# ---- what models are asked, and how answers are followed ---------------------------------------


class Prompt(Section):
    """One prompt."""

    kind: Literal["multiple_choice", "arithmetic", "open_ended"] = Field(
        description="what form the answer takes"
    )
    text: Annotated[str, StringConstraints(pattern=r"\S")] = Field(
        description="the user's words, before the model's chat template, not blank"
    )


class Prompting(Section):
    """How chat templates render the prompts, the same on every day."""

    date: Annotated[
        str,
        StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"),
    ] = Field(description="what a template that asks for today is told, YYYY-MM-DD in quotes")
    chat_template_kwargs: dict[str, Any] = Field(
        description="variables given to the template, such as enable_thinking"
    )


class Decoding(Section):
    """How dense and variants answer, greedily and sampled."""

    max_new_tokens: int = Field(
        ge=1, description="longest answer, in tokens; it may end earlier at an end of text"
    )
    sampling_temperatures: Annotated[
        list[Annotated[Positive, Field(description="a sampling temperature")]], Once
    ] = Field(description="T of the decoding, each once, beside the greedy answer; may be empty")


class Degenerate(Section):
    """How far beyond dense's text a variant's goes that is called degenerate."""

    least_tokens: int = Field(ge=1, description="length in tokens below which no text is called so")
    longest_loop_share: Share = Field(
        description="share of the text's tokens in its longest loop, immediate repetitions of one "
        "phrase, minus dense's share"
    )
    repeated_ngram_share: Share = Field(
        description="share of the text's 4-grams that occurred before in it, minus dense's share"
    )
    perplexity_ratio: Annotated[float, Field(ge=1), AsWritten] = Field(
        description="perplexity of the text over that of dense's text, both under dense"
    )


class Texts(Section):
    """How what a variant writes is judged, from its tokens alone."""

    degenerate: Degenerate = Field(
        description="how far beyond dense's text a variant's goes that is called degenerate"
    )


class Tracing(Section):
    """How a perturbation is followed through h, z and p."""

    steps: int = Field(
        ge=1,
        description="decoded tokens of each answer that sublayer traces and variant_cost follow, "
        "from the first on",
    )
    temperatures: Annotated[
        list[Annotated[Positive, Field(description="a temperature")]], Field(min_length=1), Once
    ] = Field(description="T of p = softmax(z/T), each once")
    memory_mb: int = Field(
        ge=1,
        description="upper bound on the memory of logits and what is computed from them, in MB",
    )


# ---- benchmarks and retrieval ------------------------------------------------------------------


class TaskSplit(Section):
    """One split of a task."""

    split: Literal["train", "dev", "validation", "test"] = Field(
        description="lm-eval's name of the split"
    )
    source: Source = Field(
        description="where its rows come from; the hub's split is of the same name unless given"
    )
    format: Annotated[str, one_of(task_rows.FORMATS)] = Field(
        "hub",
        description="how rows are brought to the hub's columns "
        "(scripts/prunescope/inputs/task_rows.py)",
    )


class Task(Section):
    """One benchmark task, with lm-eval's own prompts, filters and metrics."""

    lm_eval: Text | None = Field(
        None, description="lm-eval's name of the task or group; without it the task's own name"
    )
    family: Literal["non_generative", "generative"] = Field(
        description="non_generative (an option is chosen) or generative (a text is written)"
    )
    headline: Text = Field(
        description="lm-eval's metric that stands for the task, with its filter as "
        "`metric,filter` unless that is none"
    )
    n_shot: int = Field(ge=0, description="solved examples before each question")
    limit: Annotated[int | Literal["all"], count_or_all(1)] = Field(
        description="number of items, the first of the split (of a group, of each of its tasks), "
        "or all"
    )
    max_new_tokens: int | None = Field(
        None, ge=1, description="longest answer in tokens; without it lm-eval's own"
    )
    subtasks: Text | None = Field(
        None, description="of a group, the column that says which of its tasks a row belongs to"
    )
    runs_code: bool = Field(
        default=False, description="true where scoring runs programs that the model wrote"
    )
    rows: Annotated[
        list[Annotated[TaskSplit, Field(description="one split")]], Field(min_length=1)
    ] = Field(
        description="where the rows of each split come from; scored is test, or validation "
        "without one"
    )


class Benchmarks(Section):
    """How benchmark tasks are run."""

    batch_size: int = Field(ge=1, description="sequences that go through the model at once")
    run_code: bool = Field(
        description="true runs programs that a model wrote, in a sandbox that proves itself first"
    )


class Retrieval(Section):
    """How retrieval sets are searched."""

    keep_embeddings_mb: int = Field(
        ge=0,
        description="embeddings of one set by one variant that are kept for the next run, in 10^6 "
        "bytes; larger ones are deleted once the set is scored, 0 keeps none",
    )


class RetrievalSet(Section):
    """One set to search."""

    source: Source = Field(description="where the documents and queries come from")
    format: Annotated[str, one_of(retrieval_sets.READERS)] = Field(
        description="beir (corpus, queries and qrels, as hub configurations or files of a folder) "
        "or squad (questions search the paragraphs they were asked about)"
    )
    qrels: Source | None = Field(
        None, description="where the judgements come from, if not beside the documents"
    )
    n_queries: int | None = Field(
        None,
        ge=1,
        description="number of queries, the first that are judged; without it all of them",
    )
    n_documents: int | None = Field(
        None,
        ge=1,
        description="number of documents, the relevant ones among the first others; without it all",
    )
    instruction: Text | None = Field(
        None,
        description="what a query asks for, in words, for models that read an instruction",
    )
    queries_are_documents: bool = Field(
        default=False,
        description="true where a query is itself a document of the set, which it must not find",
    )


class Matched(Section):
    """Items of one data set."""

    n_items: int = Field(
        ge=2, description="items drawn at random from the rows, no two with the same answer"
    )
    max_new_tokens: int = Field(ge=1, description="longest answer that is generated, in tokens")


class MatchedSources(Section):
    """Data sets whose items are asked in three formats."""

    _any = model_validator(mode="before")(not_empty)

    squad: Matched | None = Field(None, description="questions about a paragraph")
    gsm8k: Matched | None = Field(None, description="word problems with worked solutions")
    humaneval: Matched | None = Field(
        None, description="functions to finish, scored if code is run"
    )


class MatchedFormats(Section):
    """The same items asked as retrieval, multiple choice and generation."""

    n_candidates: int = Field(
        ge=2, description="answers to choose from in multiple choice, the right one among them"
    )
    sources: MatchedSources = Field(
        description="data sets by the name of their task, which says where rows come from"
    )


# ---- what is made ------------------------------------------------------------------------------


class Export(Section):
    """What `make export` writes as plain Hugging Face checkpoints."""

    model: Selection | None = Field(
        None,
        description="names of models or of model_sets, or patterns; without it the default model",
    )
    variant: Selection = Field(
        description="names of variants or of variant_sets, or patterns such as drop-*a"
    )


class Read(Section):
    """Which files of a table a figure reads."""

    model: Selection | None = Field(
        None,
        description="names of models or of model_sets, or patterns; without it those of the figure",
    )
    variant: Selection | None = Field(
        None,
        description="names of variants or of variant_sets, or patterns such as drop-*a",
    )
    suite: Selection | None = Field(None, description="names of suites, or patterns")
    readout: Selection | None = Field(
        None,
        description="how states between blocks become logits in a sublayer trace: lm_head, alone "
        "(Eq. 2; so without this key), or final_norm before it, the usual logit lens",
    )


class FigureSettings(Section):
    """What the chart and the query of a figure may look up."""

    block: int | None = Field(
        None, ge=0, description="the transformer block the figure shows, counted from 0"
    )
    prompt: str | None = Field(
        None, description="the prompt shown beside the mean over all of them, by its id"
    )
    non_generative: str | None = Field(
        None, description="the task shown for those that choose, one of a suite the figure reads"
    )
    generative: str | None = Field(
        None, description="the task shown for those that write, one of a suite the figure reads"
    )
    max_loss: float | None = Field(
        None, gt=0, lt=1, description="loss of score that is accepted; a score is 0 to 1"
    )


class Figure(Section):
    """What one figure reads."""

    reads: Annotated[
        dict[str, Annotated[Read, Field(description="which files of the table")]],
        Field(min_length=1),
    ] = Field(
        description="tables by name (scripts/prunescope/tables/), each with the variants to read"
    )
    models: Selection | None = Field(
        None,
        description="names of models or of model_sets, or patterns, for tables that name none; "
        "without it the default model alone",
    )
    settings: FigureSettings | None = Field(
        None, description="what the chart and the query may look up"
    )


class Experiment(Section):
    """One experiment: what is defined, and the figures that decide what of it is run."""

    pathvars: Pathvars = Field(description="root folders of everything the workflow writes")
    seed: int = Field(
        ge=0,
        le=2**63 - 1,
        description="seed of every random choice, below 2^63; the same seed gives the same bytes",
    )
    threads: int = Field(
        ge=1,
        description="CPU threads of a job that runs a model. So many are started even if Snakemake "
        "is given fewer cores: their number decides the order of sums, and with it the last bits "
        "of a table. Where jobs share one GPU, set it to the number of cores, and they follow one "
        "another",
    )
    limits: Limits = Field(
        description="the most that any job asks of a cluster; first attempts ask for a share of it"
    )
    wheels: dict[Name, WheelFile] | None = Field(
        None, description="Python wheels by name, for sources to name them"
    )
    models: Annotated[dict[Name, Model], Field(min_length=1)] = Field(
        description="dense models by name; defined here, run only where a figure reads them"
    )
    default_model: str = Field(
        description="name of the model that figures read unless they name their own"
    )
    model_sets: (
        dict[Name, Annotated[Selection, Field(description="names of models, or patterns")]] | None
    ) = Field(None, description="lists of models by name, for figures and the export to name them")
    corpora: Annotated[dict[Name, Corpus], Field(min_length=1)] = Field(
        description="texts to calibrate on, by name"
    )
    calibration: Calibration = Field(description="the text that compression methods may look at")
    compression: Compression = Field(
        description="how calibration text flows through a model that is compressed"
    )
    prompts: Annotated[dict[Name, Prompt], Field(min_length=1)] = Field(
        description="what every traced model is asked, by prompt id"
    )
    prompting: Prompting = Field(
        description="how chat templates render the prompts, the same on every day"
    )
    decoding: Decoding = Field(description="how dense and variants answer, greedily and sampled")
    texts: Texts = Field(description="how what a variant writes is judged, from its tokens alone")
    tracing: Tracing = Field(description="how a perturbation is followed through h, z and p")
    variants: Annotated[
        dict[
            Name,
            Annotated[
                MethodSettings,
                Field(
                    description="one method (scripts/prunescope/compression/methods/<method>.py) "
                    "and its settings"
                ),
            ],
        ],
        Field(min_length=1),
    ] = Field(description="compressed models by name; a name stands for its settings")
    variant_sets: (
        dict[Name, Annotated[Selection, Field(description="names of variants, or patterns")]] | None
    ) = Field(
        None, description="lists of variants by name, for figures and the export to name them"
    )
    tasks: dict[Name, Task] = Field(
        description="benchmark tasks by name, run by lm-eval where a figure reads their suite"
    )
    suites: dict[
        Name,
        Annotated[
            list[Annotated[str, Field(description="name of a task")]],
            Field(min_length=1, description="names of tasks, each once"),
            Once,
        ],
    ] = Field(description="lists of tasks by name; one job evaluates a whole suite on one variant")
    benchmarks: Benchmarks = Field(description="how benchmark tasks are run")
    retrieval: Retrieval = Field(description="how retrieval sets are searched")
    retrieval_sets: dict[Name, RetrievalSet] = Field(
        description="documents, queries and which answer which, by name; searched where a model "
        "names them"
    )
    matched_formats: MatchedFormats = Field(
        description="the same items asked as retrieval, multiple choice and generation"
    )
    export: Export | None = Field(
        None, description="what `make export` writes as plain Hugging Face checkpoints"
    )
    figures: Annotated[dict[Name, Figure], Field(min_length=1)] = Field(
        description="pairs reports/figures/<name>.sql and .py by name; what they read is what runs"
    )
