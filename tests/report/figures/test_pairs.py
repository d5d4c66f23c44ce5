"""Every figure is a query and a chart, named in config, and draws what its query returns."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import vl_convert
import yaml

from draw_figure import draw_figure, load_chart
from figure_rows import decoding_rows
from prunescope import progress
from prunescope.paths import ROOT
from prunescope.report import contents, noise_limits, pickers, views
from prunescope.report.noise_limits import FLOOR
from prunescope.report.queries import rounded, run_query
from prunescope.storage import store
from prunescope.tables.schemas import READOUTS, SCHEMA_VERSION, TABLES

FIGURES = ROOT / "reports" / "figures"
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
for study in sorted(ROOT.glob("studies/*.yaml")):
    CONFIG["figures"] |= yaml.safe_load(study.read_text(encoding="utf-8"))["figures"]
STEMS = sorted(CONFIG["figures"])

MADE_BY = {"rule": "test", "settings": {}, "commit": "none", "packages": {}}

BLOCKS, STEPS = (0, 14, 29), (0, 1, 2)

VARIANTS = {
    "drop-1a": ("sublayer_drop", {"sublayer": "attn", "n_drop": 1}),
    "wanda-50": ("wanda", {"sparsity": 0.5}),
    "wanda-2of4": ("wanda", {"pattern": "2:4"}),
    "sparsegpt-50": ("sparsegpt", {"sparsity": 0.5}),
    "magnitude-50": ("magnitude", {"sparsity": 0.5}),
    "awq-4bit": ("awq", {"bits": 4, "group_size": 64}),
    "rtn-4bit": ("rtn", {"bits": 4, "group_size": 64}),
    "dense": ("identity", {}),
}
"""Variants in the tables below, with method and settings; one alone but for comparisons."""


def test_every_query_and_chart_belongs_to_a_figure_of_config() -> None:
    """A query without a chart, a chart without a query, or a figure without both is an error."""
    for suffix in (".sql", ".py"):
        assert sorted(file.stem for file in FIGURES.glob(f"*{suffix}")) == STEMS


def _reads(stem: str) -> dict[str, Any]:
    """The tables a figure reads: findings of traces need the noise floor, too."""
    reads = CONFIG["figures"][stem]["reads"]
    return reads | ({FLOOR: {}} if noise_limits.applied_to(reads) else {})


@pytest.mark.parametrize("stem", STEMS)
def test_queries_run_on_empty_tables(stem: str) -> None:
    """Each column in a query is declared; without rows there are no rows and no findings."""
    with duckdb.connect() as connection:
        for table in _reads(stem):
            connection.register(table, TABLES[table].empty())
        rows, findings = run_query(connection, _sql(stem), _settings(stem))
    assert "model" in rows.column_names
    assert rows.num_rows == 0
    assert findings == []


@pytest.mark.parametrize("models", [["one"], ["one", "two"]], ids=["one model", "two models"])
@pytest.mark.parametrize("stem", STEMS)
def test_every_figure_draws_its_rows(stem: str, models: list[str], tmp_path: Path) -> None:
    """Rows of one or two models become a chart that Vega renders, with findings in sentences."""
    figure = _drawn(stem, models, tmp_path)
    if "table" in figure:
        shown = json.dumps(figure["table"])
        assert all(f"{model}: " in shown for model in models if len(models) > 1)
    else:
        svg = vl_convert.vegalite_to_svg(figure)
        assert all(f">{model}<" in svg for model in models if len(models) > 1)
    assert figure["usermeta"]["title"] in figure["title"]["text"]
    for said in figure["usermeta"]["findings"]:
        assert said.endswith(".")
        assert said.startswith(tuple(f"{model}: " for model in models)) == (len(models) > 1)
    datasets = figure["datasets"].values()
    assert len({tuple(row) for rows in datasets for row in rows}) == 1, "one table to download"


def test_deviation_figures_read_one_temperature(tmp_path: Path) -> None:
    """Each (temperature, block, step) averages one value per prompt; the page picks T = 1."""
    for stem in ("fig14_theory_kl", "fig15_theory_probability", "fig19_logit_variance"):
        figure = _drawn(stem, ["one"], tmp_path)
        (rows,) = figure["datasets"].values()
        assert {row["prompts"] for row in rows} == {2}
        (shown,) = pickers.first_shown(figure)["datasets"].values()
        assert {row["temperature"] for row in shown} == {1.0}


def test_findings_are_computed_from_rows_and_not_from_means(tmp_path: Path) -> None:
    """Errors of +100 % and -50 % do not cancel: the median error over rows is 75 %."""
    files = _tables(["one"], tmp_path)
    deviation = store.read(files["deviation"][0], "deviation")
    factors = pa.array([2.0 if p == "sum-1" else 0.5 for p in deviation["prompt"].to_pylist()])
    place = deviation.schema.get_field_index("estimated")
    measured = deviation["measured"].to_numpy()
    skewed = deviation.set_column(place, "estimated", pa.array(measured * factors.to_numpy()))
    store.write(files["deviation"][0], skewed, "deviation", _made_by())
    (_, said, *_) = _draw("fig14_theory_kl", files, tmp_path)["usermeta"]["findings"]
    assert "median relative error exceeds 25 % at 3 of 3 blocks" in said


def test_a_figure_without_rows_is_an_error(tmp_path: Path) -> None:
    files = _tables(["one"], tmp_path)
    with pytest.raises(progress.JobError, match=r"fig06.*no rows.*block"):
        _draw("fig06_theory_block14", files, tmp_path, {"block": 99})


def test_numbers_have_five_digits_and_are_finite() -> None:
    """JSON has no NaN, and a figure needs no seventeen digits."""
    rows = rounded(pa.table({"x": [1.23456789e-9, float("nan"), float("inf"), None, 0.0]}))
    assert rows["x"].to_pylist() == [1.2346e-9, None, None, None, 0.0]


def test_every_figure_has_a_title_and_a_caption() -> None:
    for stem in STEMS:
        title, caption = contents.title_and_caption(load_chart(FIGURES / f"{stem}.py").__doc__)
        kind, number = stem[:3], stem[3:].split("_")[0].lstrip("0")
        named = {"fig": f"Figure {number}. ", "tab": f"Table {number}. ", "ext": ""}[kind]
        assert title.startswith(named)
        assert len(caption) > 100


def test_a_chart_without_a_caption_is_refused() -> None:
    with pytest.raises(ValueError, match="caption"):
        contents.title_and_caption("Only a title.")


# ---- two prompts, three blocks, every quantity ----------------------------------------------


def _sql(stem: str) -> str:
    return views.with_views((FIGURES / f"{stem}.sql").read_text(encoding="utf-8"))


def _settings(stem: str) -> dict[str, Any]:
    """Settings as a plan resolves them: `middle` is block 14 of these 30."""
    settings: dict[str, Any] = CONFIG["figures"][stem].get("settings", {})
    return settings | ({"block": 14} if settings.get("block") == "middle" else {})


def _drawn(stem: str, models: list[str], folder: Path) -> dict[str, Any]:
    return _draw(stem, _tables(models, folder), folder)


def _draw(
    stem: str, files: dict[str, list[str]], folder: Path, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    figure_file = folder / f"{stem}.json"
    reads = _reads(stem)
    alone = {
        FLOOR,
        "sublayer_trace",
        "logit_shift",
        "deviation",
        "influence",
        "compression_report",
    }
    compares = not set(reads) <= alone
    ways = [way for keys in reads.values() for way in keys.get("readout", ["lm_head"])]
    draw_figure(
        query_file=FIGURES / f"{stem}.sql",
        chart_file=FIGURES / f"{stem}.py",
        tables={
            table: [
                f
                for f in files[table]
                if (compares or "variant=" not in f or "=drop-1a/" in f)
                and ("readout=" not in f or any(f"readout={way}/" in f for way in ways))
            ]
            for table in reads
        },
        settings=_settings(stem) if settings is None else settings,
        figure_file=str(figure_file),
    )
    figure: dict[str, Any] = json.loads(figure_file.read_text(encoding="utf-8"))
    return figure


def _tables(models: list[str], folder: Path) -> dict[str, list[str]]:
    """Files of every table a figure reads, one per model and variant."""
    files: dict[str, list[str]] = {}
    for name, rows in _rows().items():
        schema = TABLES[name].schema
        by_variant = "variant" in TABLES[name].partition
        for model in models:
            for variant in VARIANTS if by_variant else [""]:
                place = f"model={model}" + (f"/variant={variant}" if by_variant else "")
                place += "/suite=core" * ("suite" in TABLES[name].partition)
                filled = [
                    {column: row.get(column) for column in schema.names}
                    for row in rows
                    if not by_variant or row.get("variant", variant) == variant
                ]
                by_readout = "readout" in TABLES[name].partition
                for way in READOUTS if by_readout else [""]:
                    below = f"{place}/readout={way}" if by_readout else place
                    file = folder / name / below / "part.parquet"
                    store.write(file, pa.Table.from_pylist(filled, schema), name, _made_by())
                    files.setdefault(name, []).append(str(file))
    return files


def _made_by() -> dict[str, object]:
    return {**MADE_BY, "schema_version": SCHEMA_VERSION}


def _rows() -> dict[str, list[dict[str, Any]]]:
    spread = [
        {"prompt": prompt, "step": step, "block": block, "sublayer": sublayer}
        for prompt in ("sum-1", "open-1")
        for step in STEPS
        for block in BLOCKS
        for sublayer in ("attn", "mlp")
    ]
    traced, shifts, deviations = [], [], []
    for place, key in enumerate(spread):
        size = 0.01 + 0.001 * (place % 17)
        moments = {"var_p": size, "var_escort": size, "cumulant_3": 0.0, "cumulant_4": 0.0}
        relative = {"relative_orthogonal_magnitude": size, "relative_parallel_magnitude": size}
        same = {"measured": size, "estimated": 1.1 * size}
        for space in ("embedding", "logit"):
            at = {**key, "temperature": None, "space": space}
            traced.append({**at, "angular_deviation": size**2, **relative})
            deviations.append({**at, "quantity": "angular_deviation", "order": 2, **same})
        shifts.append({**key, "temperature": None, "var_uniform": size, "mean_uniform": 0.0})
        for temperature in CONFIG["tracing"]["temperatures"]:
            at = {**key, "temperature": temperature, "space": "probability"}
            traced.append({**at, "angular_deviation": size, "kl_divergence": size})
            shifts.append({**key, "temperature": temperature, "mean_p": 0.0, **moments})
            deviations.append({**at, "quantity": "angular_deviation", "order": 2, **same})
            deviations.append({**at, "quantity": "kl_bound", "order": None, **same})
            kl = {**at, "quantity": "kl_divergence", **same}
            deviations.extend({**kl, "order": order} for order in (2, 3, 4))
    parts = [
        {"block": block, "sublayer": sublayer, "influence": 0.01 * (block + 1), "n_tokens": 8}
        for block in BLOCKS
        for sublayer in ("attn", "mlp", "block")
    ]
    dropped = {"variant": "drop-1a", "method": "sublayer_drop", "n_drop": 1}
    reported: list[dict[str, Any]] = [
        {**part, **dropped, "rank": rank, "removed": rank < 1}
        for rank, part in enumerate(part for part in parts if part["sublayer"] == "attn")
    ]
    reported += [
        {
            "variant": variant,
            "method": method,
            "block": block,
            "linear": linear,
            "sublayer": "mlp" if "mlp" in linear else "attn",
            "sparsity": 0.5,
            "relative_output_error": 0.1 + 0.01 * place + 0.001 * block,
        }
        for place, (variant, (method, _)) in enumerate(VARIANTS.items())
        for block in BLOCKS
        for linear in ("self_attn.q_proj", "mlp.down_proj")
        if variant not in {"drop-1a", "dense"}
    ]
    whole = {
        "parameters": 100,
        "bytes": 400,
        "kv_cache_bytes_per_token": 64,
        "prefill_tokens_per_second": 900.0,
        "decode_tokens_per_second": 30.0,
    }
    costs = [
        {
            **{column.name: 1 for column in TABLES["variant_cost"].columns},
            **whole,
            **{f"{name}_dense": 2 * value for name, value in whole.items()},
            "variant": variant,
            "method": method,
            "device": "cpu",
            "same_operations": method == "wanda",
            "similarity_probability": 0.9 - 0.1 * place,
        }
        for place, (variant, (method, _)) in enumerate(VARIANTS.items())
    ]
    runs = [
        {
            "variant": variant,
            "method": method,
            "settings": json.dumps(settings),
            "seconds": 1.0,
            "n_tokens": 8,
            "threads": 2,
        }
        for variant, (method, settings) in VARIANTS.items()
    ]
    checks = [
        {"check": "logits", "measured": 1e-6, "tolerance": 1e-4, "passed": True, "remedy": ""}
    ]
    noise = [
        {
            "comparison": comparison,
            "dtype": "bfloat16",
            "space": space,
            "n_positions": 16,
            "mean_angular_deviation": 1e-5,
            "max_angular_deviation": 1e-4,
            "mean_kl_divergence": 1e-4 if space == "probability" else None,
            "max_kl_divergence": 1e-3 if space == "probability" else None,
            "n_disagreements": 1,
        }
        for comparison in ("one pass against decoding with a cache", "against float32")
        for space in ("embedding", "logit", "probability")
    ]
    return {
        "model_check": checks,
        "noise_floor": noise,
        "influence": parts,
        "compression_report": reported,
        "compression_run": runs,
        "variant_cost": costs,
        "sublayer_trace": traced,
        "logit_shift": shifts,
        "deviation": deviations,
        **decoding_rows(CONFIG["tracing"]["temperatures"]),
    }
