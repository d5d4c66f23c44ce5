"""Influences equal their definition, and variants drop the sublayers with the least influence."""

import subprocess
import sys

import pyarrow as pa
import pytest
import torch

from prunescope.compression import influence, methods
from prunescope.model import capture
from prunescope.paths import SCRIPTS
from prunescope.tables.schemas import TABLES
from tiny import tiny_model


def _cosine(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return (u * v).sum(-1) / (u.norm(dim=-1) * v.norm(dim=-1))


def test_influences_are_one_minus_mean_cosine(model, generator):
    """Influences of sublayers and blocks, from cosines of the recorded residual stream."""
    sequences = torch.randint(3, 100, (5, 12), generator=generator)
    table = influence.influences(model, sequences.split(2)).to_pylist()
    stream = torch.cat([capture.residuals(model, s, start=0)[0] for s in sequences])
    assert len(table) == 9
    for row in table:
        first = 2 * row["block"] + (row["sublayer"] == "mlp")
        last = first + (2 if row["sublayer"] == "block" else 1)
        expected = 1 - _cosine(stream[:, first], stream[:, last]).mean()
        assert row["influence"] == pytest.approx(float(expected), rel=1e-4)
        assert row["n_tokens"] == 60


def test_batching_changes_nothing_beyond_rounding(generator):
    """A sequence at a time gives the same influences as all sequences together."""
    model = tiny_model("llama")
    sequences = torch.randint(3, 100, (6, 10), generator=generator)
    one = influence.influences(model, sequences.split(1))["influence"].to_numpy()
    all_at_once = influence.influences(model, sequences.split(6))["influence"].to_numpy()
    torch.testing.assert_close(torch.tensor(one), torch.tensor(all_at_once), rtol=1e-4, atol=1e-7)


def _table(values: dict[tuple[int, str], float]) -> pa.Table:
    rows = [
        {"block": b, "sublayer": s, "influence": v, "n_tokens": 1} for (b, s), v in values.items()
    ]
    return pa.Table.from_pylist(rows, schema=TABLES["influence"].schema)


INFLUENCE = _table(
    {
        (0, "attn"): 0.9, (0, "mlp"): 0.5, (0, "block"): 0.95,
        (1, "attn"): 0.2, (1, "mlp"): 0.1, (1, "block"): 0.15,
        (2, "attn"): 0.2, (2, "mlp"): 0.3, (2, "block"): 0.12,
    }
)  # fmt: skip


def test_sublayers_with_the_least_influence_are_dropped_first():
    """Of two with equal influence, the one in the earlier block is dropped first."""
    drop = methods.load("sublayer_drop")
    assert drop(INFLUENCE, sublayer="attn", n_drop=1)[0].dropped == {"attn": (1,)}
    assert drop(INFLUENCE, sublayer="attn", n_drop=2)[0].dropped == {"attn": (1, 2)}
    assert drop(INFLUENCE, sublayer="any", n_drop=3)[0].dropped == {"attn": (1, 2), "mlp": (1,)}
    assert drop(INFLUENCE, sublayer="mlp", n_drop="all")[0].dropped == {"mlp": (0, 1, 2)}
    assert methods.load("block_drop")(INFLUENCE, n_drop=1)[0].dropped == {"block": (2,)}


def test_dropped_sets_are_nested():
    """A larger number of dropped sublayers includes those of a smaller number."""
    before: set[int] = set()
    for k in range(4):
        edit, report = methods.load("sublayer_drop")(INFLUENCE, sublayer="attn", n_drop=k)
        assert before <= set(edit.dropped["attn"])
        before = set(edit.dropped["attn"])
        assert len(before) == k == sum(report["removed"].to_pylist())
        assert report["rank"].to_pylist() == [0, 1, 2]


def test_dropping_more_sublayers_than_exist_is_refused():
    """The message says how many there are."""
    with pytest.raises(ValueError, match="has only 3 of attn"):
        methods.load("sublayer_drop")(INFLUENCE, sublayer="attn", n_drop=4)


def test_dropping_imports_no_torch():
    """The import would take longer than the job."""
    scripts = SCRIPTS
    script = (
        f"import sys; sys.path.insert(0, {str(scripts)!r})\n"
        "import compress_model\n"
        "from prunescope.compression import methods\n"
        "for name in ('identity', 'sublayer_drop', 'block_drop'): methods.load(name)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
