"""The report: the figures in the paper's order and their provenance, as one self-contained page."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from prunescope.inference import claims
from prunescope.paths import REPORTS
from prunescope.report import contents, judged_claims
from prunescope.storage import seals


@dataclass(frozen=True)
class Panel:
    """One place of the page: a figure, or several that share it and are chosen by a picker."""

    anchor: str
    title: str
    figures: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Section:
    """One section of the page: its heading, its lead and its panels in order."""

    anchor: str
    heading: str
    lead: str
    panels: Sequence[Panel]

    @property
    def figures(self) -> dict[str, Mapping[str, Any]]:
        """Its figures by stem, in order."""
        return {name: each for panel in self.panels for name, each in panel.figures.items()}


def sections(figures: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """The sections in the paper's order, with the figures that none of them names at the end.

    Parameters
    ----------
    figures : stem -> Vega-Lite specification.
    """
    remaining = dict(figures)

    def panels(entry: str | Mapping[str, Any]) -> list[Panel]:
        """Panels of an entry; what is left of a shared one stands alone if it is one figure."""
        if isinstance(entry, str):
            names = [name for name in figures if contents.is_of(name, entry)]
            return [Panel(name, "", {name: remaining.pop(name)}) for name in names]
        members = [panel for stem in entry["figures"] for panel in panels(stem)]
        shared = {name: each for panel in members for name, each in panel.figures.items()}
        return members if len(shared) < 2 else [Panel(entry["panel"], entry["title"], shared)]

    ordered = []
    for entry in contents.entries():
        stems = entry.pop("figures")
        ordered.append(Section(**entry, panels=[each for stem in stems for each in panels(stem)]))
    others = [Panel(name, "", {name: figure}) for name, figure in remaining.items()]
    ordered.append(
        Section("more", contents.OTHER_FIGURES, "Figures that the paper does not have.", others)
    )
    return [section for section in ordered if section.panels]


def render(
    figures: Mapping[str, Mapping[str, Any]],
    verdicts: Sequence[Mapping[str, Any]],
    facts: Sequence[tuple[str, Any]],
    missing: Mapping[str, Sequence[str]],
    has_items: bool = False,
    run: Sequence[tuple[str, str]] = (),
) -> str:
    """The page as HTML, with a blank for its seal.

    Texts are escaped, and no text in a specification can end its script.

    Parameters
    ----------
    figures : stem -> Vega-Lite specification with `usermeta` from draw_figure.
    verdicts : rows of table `claim_verdict`.
    facts : heading and rows of each table of provenance; a row is a sequence of texts, and the
        first row is the head.
    missing : stems of figures that could not be drawn, and the jobs that each waits for.
    has_items : whether items.html stands beside the page.
    run : what was run, when, where and how much of it, as pairs of a name and a text.
    """
    style, vega = _report_file("style.css"), _vega_bundle()
    behaviour = _report_file("report.js")
    return _template("report.html.j2").render(
        sections=sections(figures),
        judged=judged_claims.judged(claims.read_all(), verdicts),
        main_model=judged_claims.main_model(verdicts),
        labels={name: label(figure) for name, figure in figures.items()},
        specifications=in_script({name: specification(each) for name, each in figures.items()}),
        facts=facts,
        missing=missing,
        has_items=has_items,
        run=run,
        label=label,
        finding=finding,
        policy=content_policy(scripts=(vega, behaviour), styles=(style,)),
        seal=seals.BLANK,
        style=style,
        behaviour=behaviour,
        vega=vega,
    )


def render_items(tasks: Sequence[Mapping[str, Any]]) -> str:
    """The page of changed items as HTML, with a blank for its seal; it needs no network.

    Parameters
    ----------
    tasks : the changed items of each model and task (`items.changed`).
    """
    style, behaviour = _report_file("style.css"), _report_file("items.js")
    return _template("items.html.j2").render(
        data=in_script(tasks),
        seal=seals.BLANK,
        policy=content_policy(scripts=(behaviour,), styles=(style,)),
        style=style,
        behaviour=behaviour,
    )


def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(REPORTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def content_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """The Content-Security-Policy of the page, which allows these scripts and styles and no others.

    If a hostile text ever escaped from the place where it is shown, the browser would still refuse
    to run it, because its hash is not in the list. The page loads nothing, sends no form and turns
    no text into code (Vega interprets its expressions instead of compiling them). `style`
    attributes and added style elements are refused too; styles that scripts set property by
    property are allowed by every policy.

    Parameters
    ----------
    scripts, styles : the texts between the tags, exactly as they stand in the page.
    """
    directives = {
        "default-src": ["'none'"],
        "script-src": [_hash_source(text) for text in scripts],
        "style-src": [_hash_source(text) for text in styles],
        "img-src": ["data:"],  # the empty icon
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(values)}" for name, values in directives.items())


def _hash_source(text: str) -> str:
    """The source expression by which a policy allows a script or style sheet with this text."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def label(figure: Mapping[str, Any]) -> str:
    """The short name of a figure, such as Figure 4."""
    title: str = figure["usermeta"]["title"]
    return title.partition(". ")[0]


def finding(figure: Mapping[str, Any]) -> str:
    """The first finding of a figure; an empty text if it has none."""
    findings: Sequence[str] = figure["usermeta"]["findings"]
    return next(iter(findings), "")


def specification(figure: Mapping[str, Any]) -> dict[str, Any]:
    """What the page's script needs of a figure: what is drawn, the data, and its pickers.

    Titles and tables are left out, because the page itself sets them. Data are stored by column,
    in a quarter of the space.
    """
    set_by_page = {"usermeta", "title", "table", "datasets"}
    return {key: value for key, value in figure.items() if key not in set_by_page} | {
        "datasets": {name: by_column(rows) for name, rows in figure.get("datasets", {}).items()},
        "pickers": figure["usermeta"].get("pickers", []),
    }


def by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as columns: their number, and each column as a list or as its one value."""
    columns = {name: [row.get(name) for row in rows] for row in rows[:1] for name in row}
    return {
        "length": len(rows),
        "same": {name: column[0] for name, column in columns.items() if is_constant(column)},
        "lists": {name: column for name, column in columns.items() if not is_constant(column)},
    }


def is_constant(column: Sequence[object]) -> bool:
    """True if all values are equal and of one type: 1, 1.0 and true are not the same."""
    return all(value == column[0] and type(value) is type(column[0]) for value in column)


def in_script(value: object) -> Markup:
    """The value as JSON that no text in it can make unsafe inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 escaped one line above


def _report_file(name: str) -> Markup:
    """A file of reports/. Read as text, it has the line ends that a browser hashes."""
    return Markup((REPORTS / name).read_text(encoding="utf-8"))  # noqa: S704 a file of this repository


def _vega_bundle() -> Markup:
    """Vega, Vega-Lite and Vega-Embed, without string literals that would end the script element."""
    code = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    safe = re.sub(r"<(?=/script|!--)", r"\\x3c", code, flags=re.IGNORECASE)
    safe = re.sub(r"\r\n?", "\n", safe)  # as a browser reads line ends before it takes the hash
    return Markup(safe)  # noqa: S704 a library's code
