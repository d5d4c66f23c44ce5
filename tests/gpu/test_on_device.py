"""Each computation that runs a model is compared, on the GPU, with float64 on the CPU.

A tiny random model of every architecture is rounded to each dtype; that model in float64 on the CPU
is the reference, so that what differs is arithmetic on the device and nothing else. Without a GPU
the device is the CPU: the test then says that half precision is handled, not that devices are.
"""

import copy
import functools
import os
from typing import Any

import pytest
import torch
from torch import Tensor

from pair_columns import by_name
from prunescope.checking import model_check
from prunescope.compression import influence, methods
from prunescope.compression.blockwise import Calibration
from prunescope.evaluation import text_embedding
from prunescope.machine import attention, products
from prunescope.model import capture, edits, loading, prompts, unembedding
from prunescope.model.anatomy import anatomy_of, blocks_of
from prunescope.model.variant import Variant
from prunescope.tracing import (
    agreement,
    attention_error,
    costs,
    decoding,
    histories,
    options,
    sublayer_traces,
)
from tiny import ARCHITECTURES, CAPPED, DROPPABLE, tiny_model

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.15, "float16": 0.02}
"""Largest |device - reference|₂ / |reference|₂ of a state: three blocks of rounding."""

TEMPERATURES = (0.5, 1.0)

SIGNED = ("mean_p", "mean_uniform", "min_shift", "max_shift", "cumulant_3", "cumulant_4")
"""Statistics that may lie near zero between large terms, whose rounding they keep."""

IDS = torch.randint(3, 100, (4, 16), generator=torch.Generator().manual_seed(3))

SETTINGS: dict[str, dict[str, Any]] = {
    "magnitude": {"sparsity": 0.5},
    "wanda": {"pattern": "2:4"},
    "sparsegpt": {"sparsity": 0.5},
    "neuron": {"sparsity": 0.25},
    "rtn": {"bits": 4, "group_size": 8},
    "awq": {"bits": 4, "group_size": 8},
}

EXPERTS = ("mixtral", "qwen3_moe")
"""torch has no float64 product by expert, and rounding changes who is asked: float32 alone."""

EVERY = torch.cuda.is_available() or "ON_DEVICE" in os.environ
"""On a GPU, and wherever run.sh asks: else one decoder of each kind stands for the others, which
the tests of the CPU go through anyway."""

DECODERS = [
    architecture
    for architecture in (*ARCHITECTURES, *CAPPED, *DROPPABLE)
    if EVERY or architecture in {"qwen2", "gemma2", "mixtral", "gpt2"}
]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_decoder = pytest.mark.parametrize("architecture", DECODERS)
every_pair = pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        (architecture, dtype)
        for architecture in DECODERS
        for dtype in DTYPES
        if dtype == "float32" or architecture not in EXPERTS
    ],
)
every_pruned = pytest.mark.parametrize(
    "architecture", [name for name in DECODERS if name not in DROPPABLE]
)


@functools.cache
def _pair(architecture: str, dtype: str) -> tuple[Any, Any]:
    """A tiny model on the device, and the same weights in float64 on the CPU."""
    rounded = tiny_model(architecture).to(DTYPES[dtype])
    exact = torch.float32 if architecture in EXPERTS else torch.float64
    reference = copy.deepcopy(rounded).to(exact)
    subject = copy.deepcopy(rounded).to(DEVICE)
    return attention.use(products.use(subject)), reference


def _close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative difference of the last axis, (…, d) each."""
    found = found.detach().to("cpu", torch.float64)
    assert found.isfinite().all()
    apart = torch.linalg.vector_norm(found - expected, dim=-1)
    size = torch.linalg.vector_norm(expected, dim=-1).clamp(min=1e-12)
    assert float((apart / size).max()) <= tolerance


def _answer(length: int = 6) -> dict[str, Any]:
    """A row of `dense_answer` of random tokens."""
    return {
        "prompt": "p",
        "kind": "arithmetic",
        "text": "",
        "sampling_temperature": 0.0,
        "prompt_token_ids": IDS[0, :5].tolist(),
        "answer_token_ids": IDS[1, :length].tolist(),
    }


def _edit(model: Any, device: torch.device) -> edits.Edit:
    """Attention 1 dropped, and every matrix of block 2 at 0.7 of its weight."""
    prefix = anatomy_of(model).blocks
    tensors = {
        name: (parameter * 0.7).to(device)
        for name, parameter in model.named_parameters()
        if name.startswith(f"{prefix}.2.") and parameter.ndim == 2
    }
    return edits.Edit({"attn": (1,)}, tensors)


@every_pair
def test_residual_streams_and_traces_equal_those_of_the_cpu(architecture: str, dtype: str) -> None:
    """Statistics of equal states agree to three digits."""
    subject, reference = _pair(architecture, dtype)
    cpu = torch.device("cpu")
    # An edit's tensors come from a file: they are on the CPU, wherever the model is.
    dense, variant = capture.residuals(subject, IDS[0].to(DEVICE), 3, _edit(subject, cpu))
    expected, expected_variant = capture.residuals(reference, IDS[0], 3, _edit(reference, cpu))
    assert dense.device.type == DEVICE.type
    _close(dense, expected, TOLERANCE[dtype])
    for sublayer, state in variant.items():
        _close(state, expected_variant[sublayer], TOLERANCE[dtype])
    same = dense.cpu().double(), {s: h.cpu().double() for s, h in variant.items()}
    dropped = [s for s in range(6) if s not in variant]
    for final_norm in (False, True):
        ours, theirs = (
            sublayer_traces.statistics(
                *states, dropped, unembedding.readout_of(model, final_norm), TEMPERATURES, 64
            )
            for model, states in ((subject, (dense, variant)), (reference, same))
        )
        # A final norm in half precision rounds what lm_head reads, and that is the model's own.
        rounds = final_norm and dtype != "float32"
        rtol, least = (0.3, 0.02) if rounds else (2e-3, 1e-6)
        for name, value in by_name(theirs).items():
            signed = name.rpartition(".")[2] in SIGNED
            atol = max(least, 1e-4, 1e-5 * float(value.abs().max())) if signed else least
            if name.startswith("h.") or not rounds or name.endswith("angular_deviation"):
                torch.testing.assert_close(
                    by_name(ours)[name].cpu(),
                    value,
                    rtol=rtol,
                    atol=atol,
                    msg=lambda text, of=name, normed=final_norm: f"{of}, {normed}: {text}",
                )


@every_pair
def test_influences_equal_those_of_the_cpu(architecture: str, dtype: str) -> None:
    subject, reference = _pair(architecture, dtype)
    ours, theirs = (
        torch.tensor(influence.influences(model, [IDS])["influence"].to_pylist())
        for model in (subject, reference)
    )
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] / 10)


@every_dtype
@every_decoder
def test_the_model_check_passes(architecture: str, dtype: str) -> None:
    """It runs in float32 for any dtype, as before each run of a real model."""
    subject, _ = _pair(architecture, dtype)
    checks = model_check.structure(subject, IDS.flatten().tolist(), "causal")
    assert model_check.failures(checks) == ""
    assert model_check.finite_weights(subject).passed
    rows = model_check.noise_floor(subject, IDS.flatten().tolist()).to_pylist()
    own = [row for row in rows if row["readout"] is None]
    exact = dtype == "float32"  # which is not compared with float32
    sublayers = 2 * len(blocks_of(subject))
    assert len(own) == 3 * (2 if exact else 3)
    assert len(rows) - len(own) == 3 * 2 * sublayers * (1 if exact else 2)
    assert max(row["mean_angular_deviation"] for row in own) < TOLERANCE[dtype]


@every_dtype
@pytest.mark.parametrize("method", SETTINGS)
@every_pruned
def test_compressed_variants_equal_those_of_the_cpu(
    architecture: str, method: str, dtype: str
) -> None:
    """Blocks are moved to the device one by one; sparsity and output error are the same.

    Masks are not compared one by one: weights that are nearly equal fall on either side.
    """
    subject, reference = _pair(architecture, dtype)
    compress = methods.load(method)
    on_cpu = copy.deepcopy(subject).cpu()  # as a job loads it
    lives = [on_cpu, subject] if dtype == "float32" else [on_cpu]
    asked = methods.reads(method)
    _, expected = compress(*_evidence(asked, reference, Calibration(IDS)), **SETTINGS[method])
    for model in lives:
        edit, report = compress(
            *_evidence(asked, model, Calibration(IDS, DEVICE)), **SETTINGS[method]
        )
        for column, rtol in (("sparsity", 0.02), ("relative_output_error", 0.1)):
            ours, theirs = (
                torch.tensor([v or 0.0 for v in table[column].to_pylist()])
                for table in (report, expected)
            )
            torch.testing.assert_close(ours, theirs, rtol=rtol, atol=0.02, msg=column)
        variant = loading.apply_edit(subject, edit)
        assert variant(IDS.to(DEVICE)).logits.isfinite().all()


def _evidence(asked: Any, model: Any, calibration: Calibration) -> list[Any]:
    return [{"model": model, "calibration": calibration}[name] for name in asked]


@every_pair
def test_decoding_traces_run_on_the_device(architecture: str, dtype: str) -> None:
    """Answers are written, compared and chosen; the identity has deviations of exactly zero."""
    subject, reference = _pair(architecture, dtype)
    cpu = torch.device("cpu")
    answer = _answer()
    own = [*answer["answer_token_ids"][:3], 7, 11]
    found = []
    for model in (subject, reference):
        edit = _edit(model, cpu)
        variant = loading.apply_edit(model, edit)
        found.append(decoding.states(model, Variant(variant, edit), answer, own))
    ours, theirs = found
    _close(ours.dense, theirs.dense, TOLERANCE[dtype])
    _close(
        ours.variant[: ours.n_common_steps],
        theirs.variant[: theirs.n_common_steps],
        TOLERANCE[dtype],
    )
    unembed = unembedding.output_of(subject)
    compared = decoding.compare(ours, unembed, answer, TEMPERATURES, 64, 0)
    tables = decoding.tables_of(answer, own, ours, compared)
    assert tables["decoding_trace"].num_rows > 0
    options.tables_of("p", {"A": 5, "B": 9}, *compared.first_logits[:2], TEMPERATURES, _Tokenizer())
    same = decoding.states(subject, Variant(loading.apply_edit(subject, edits.Edit())), answer, own)
    zero = decoding.compare(same, unembed, answer, TEMPERATURES, 64, 0).statistics
    forced = histories_index("teacher_forced")
    assert (zero.p.kl_divergence[:, forced].abs() <= 1e-12).all()


def histories_index(name: str) -> int:
    """Column of one history."""
    return decoding.HISTORIES.index(name)


class _Tokenizer:
    """As much of one as the table of likely tokens asks for."""

    def decode(self, ids: Any, **_: Any) -> str:
        return str(ids)


@every_decoder
def test_batched_answers_equal_those_of_the_cpu(architecture: str) -> None:
    """Greedy and sampled, token by token, in float32.

    Not float64: the plain masks of transformers, which Gemma 2 needs, end there in NaN.
    """
    subject, _ = _pair(architecture, "float32")
    reference = tiny_model(architecture)
    asked = [
        prompts.Asked("a", 0.0, IDS[0, :9].tolist()),
        prompts.Asked("b", 0.0, IDS[1, :4].tolist()),
        prompts.Asked("b", 0.7, IDS[1, :4].tolist()),
    ]
    ours, theirs = (
        prompts.answers(model, _Tokenizer(), asked, 8, 0)  # type: ignore[arg-type]
        for model in (subject, reference)
    )
    assert ours == theirs


@every_dtype
@every_pruned
def test_attention_errors_are_split_exactly(architecture: str, dtype: str) -> None:
    """The signed shares of the parts of Δo sum to one."""
    subject, _ = _pair(architecture, dtype)
    edit = _edit(subject, torch.device("cpu"))
    ids = IDS[0].to(DEVICE)
    dense = histories.run(subject, ids)
    edited = attention_error.edited_attention(subject, ids, edit)
    rows = attention_error.as_table(
        "p", "edited_sublayer", 4, dense.attended, edited, dense.scoring
    )
    assert rows.num_rows > 0
    per_row = rows.group_by(["block", "step", "head_group"]).aggregate([("share", "sum")])
    sums = torch.tensor([s for s in per_row["share_sum"].to_pylist() if s is not None])
    torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-6, atol=1e-6)


@every_dtype
def test_costs_agreement_and_embeddings_run_on_the_device(dtype: str) -> None:
    subject, reference = _pair("qwen2", dtype)
    variant = loading.apply_edit(subject, edits.Edit({"attn": (1,)}))
    expected = loading.apply_edit(reference, edits.Edit({"attn": (1,)}))
    ours = agreement.agreement(subject, variant, [_answer()], 6)
    theirs = agreement.agreement(reference, expected, [_answer()], 6)
    assert ours.similarity_logit == pytest.approx(theirs.similarity_logit, abs=TOLERANCE[dtype])
    ids = IDS[0].to(DEVICE)
    assert costs.cache_bytes_per_token(variant, ids) * 3 == 2 * costs.cache_bytes_per_token(
        subject, ids
    )
    assert all(speed > 0 for speeds in costs.speeds(subject, variant, ids) for speed in speeds)
    texts = [row[: 5 + 3 * place].tolist() for place, row in enumerate(IDS)]
    vectors, wanted = (
        text_embedding.embed(model, texts, "last_token", normalize=True)
        for model in (subject, reference)
    )
    _close(vectors, wanted.double(), TOLERANCE[dtype])


def test_anatomy_gives_the_device_of_each_block() -> None:
    """All parameters of the block are on it."""
    subject, _ = _pair("qwen2", "bfloat16")
    where = {p.device.type for block in blocks_of(subject) for p in block.parameters()}
    assert where == {DEVICE.type}
