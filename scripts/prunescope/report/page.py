"""The report: figures in the paper's order and what made them, as one self-contained page."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from prunescope.paths import REPORTS

SECTIONS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    (
        "tasks",
        "What compression does to tasks",
        "Tasks that choose among given answers and tasks that write, scored by lm-eval on the same "
        "variants, with 95 % intervals over items.",
        (
            "tab01",
            "fig01",
            "fig10",
            "fig03",
            "fig09",
            "ext_task",
            "ext_matched",
            "ext_retrieval",
            "ext_theory",
        ),
    ),
    (
        "check",
        "Whether the model runs as it is read",
        "Before anything else runs a model, what is read of it is compared with what the model "
        "itself computes, and its noise floor is measured.",
        ("ext_model",),
    ),
    (
        "influence",
        "What may be dropped",
        "Layer dropping removes the sublayers or blocks that turn the hidden state least on a "
        "calibration text. Everything below asks what becomes of the model when one of them goes.",
        ("ext_influence",),
    ),
    (
        "compression",
        "What compression changes, gains and costs",
        "Pruning and quantization change weights inside a linear. Its error on calibration text is "
        "what the methods compete in; bytes, speed and cache are what they are for, and how far "
        "the model's own output moves is what they cost.",
        ("ext_output", "ext_compression"),
    ),
    (
        "similarity",
        "One perturbation in three spaces",
        "One sublayer at a time is edited on the dense model's own context, and its output is "
        "compared with the dense one three times: as hidden state h, as logits z = lm_head(h), and "
        "as probabilities p = softmax(z/T).",
        ("fig04", "fig13"),
    ),
    (
        "lm-head",
        "From hidden states to logits",
        "Only the part of a perturbation orthogonal to the dense vector turns it. Theorem 1: the "
        "angular deviation is half the square of that part's relative length, in h and in z alike. "
        "So what lm_head does to it decides whether logits stay as similar as hidden states.",
        ("fig05", "fig16", "fig17", "fig18"),
    ),
    (
        "softmax",
        "From logits to probabilities",
        "Softmax looks at differences between logits. Theorems 2 and 3: to second order the "
        "deviation of the probabilities is the variance of the logit shift Δz over 2T², weighted "
        "by p² for the angle and by p for the KL divergence.",
        (
            "fig06",
            "fig11",
            "fig14",
            "fig15",
            "fig19",
            "fig20",
            "fig21",
            "ext_readout",
            "ext_locality",
        ),
    ),
    (
        "options",
        "Why choices survive",
        "A multiple-choice answer is read off a handful of tokens at the first step. Here the same "
        "perturbation is looked at in the whole vocabulary and among the options alone.",
        ("fig08",),
    ),
    (
        "time",
        "Why generation does not",
        "Whole variants beside dense, step by step. What a step reads of earlier ones is its "
        "history: dense's or the variant's own keys and values, dense's or the variant's own "
        "tokens. Taken one after the other, these histories split the shift Δz exactly.",
        (
            "fig07",
            "ext_history",
            "ext_divergence",
            "ext_attention",
            "fig12",
            "tab02",
        ),
    ),
)
"""Anchor, heading, lead, and the figures' stems up to the first underscore after the number."""


@dataclass(frozen=True)
class Section:
    """One section: what it is called, what it says first, its figures by stem."""

    anchor: str
    heading: str
    lead: str
    figures: Mapping[str, Mapping[str, Any]]


def sections(figures: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """Figures, stem -> Vega-Lite specification, in the paper's order; the rest at the end."""
    left = dict(figures)
    found = []
    for anchor, heading, lead, stems in SECTIONS:
        names = [name for stem in stems for name in figures if (name + "_").startswith(f"{stem}_")]
        found.append(Section(anchor, heading, lead, {name: left.pop(name) for name in names}))
    found.append(Section("more", "More figures", "Figures of this project's own.", left))
    return [section for section in found if section.figures]


def render(
    figures: Mapping[str, Mapping[str, Any]],
    facts: Sequence[tuple[str, Any]],
    missing: Mapping[str, Sequence[str]],
) -> str:
    """The page as HTML. Texts are escaped, specifications inlined so that no text ends a script.

    Parameters
    ----------
    figures : stem -> Vega-Lite specification with `usermeta` from draw_figure.
    facts : heading and rows of each table of provenance; a row is a sequence of texts, the first
        row the head.
    missing : stems of figures that could not be drawn, and the jobs that each waits for.
    """
    style, vega, behaviour = _ours("style.css"), _library(), _ours("report.js")
    environment = Environment(
        loader=FileSystemLoader(REPORTS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        sections=sections(figures),
        checked=checked(figures),
        specifications=in_script({name: untitled(figure) for name, figure in figures.items()}),
        facts=facts,
        missing=missing,
        policy=content_policy(scripts=(vega, behaviour), styles=(style,)),
        style=style,
        behaviour=behaviour,
        vega=vega,
    )


def content_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """The page's Content-Security-Policy: the scripts and style sheets given, and nothing else.

    Should a hostile text ever break out of where it is shown, the browser still refuses to run it:
    its hash is not in the list. Nothing is loaded, no form is sent, no text becomes code (Vega
    interprets its expressions instead of compiling them), and no `style` attribute or element
    is added; styles that scripts set property by property are allowed by every policy.

    Parameters
    ----------
    scripts, styles : the texts between the tags, exactly as the page holds them.
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
    """A text between script or style tags, as a policy names it."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def checked(figures: Mapping[str, Mapping[str, Any]]) -> dict[bool, list[tuple[str, str, str]]]:
    """What the paper says and a figure checks, by whether this run agrees.

    Returns
    -------
    agrees -> (figure, what it is called in short, finding)
    """
    found: dict[bool, list[tuple[str, str, str]]] = {True: [], False: []}
    for section in sections(figures):
        for name, figure in section.figures.items():
            label = figure["usermeta"]["title"].partition(". ")[0]
            for said in figure["usermeta"]["findings"]:
                if said["agrees"] is not None:
                    found[said["agrees"]].append((name, label, said["finding"]))
    return found


def untitled(figure: Mapping[str, Any]) -> dict[str, Any]:
    """The specification alone: titles and tables are set by the page itself."""
    ours = {"usermeta", "title", "table"}
    return {key: value for key, value in figure.items() if key not in ours}


def in_script(value: object) -> Markup:
    """JSON that is safe inside a script element, whatever texts it holds."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 escaped one line above


def _ours(name: str) -> Markup:
    """A file of ours; reading as text makes its line ends those a browser hashes."""
    return Markup((REPORTS / name).read_text(encoding="utf-8"))  # noqa: S704 our own file


def _library() -> Markup:
    """Vega, Vega-Lite and Vega-Embed, with no end of the script element in a string literal."""
    code = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    safe = re.sub(r"<(?=/script|!--)", r"\\x3c", code, flags=re.IGNORECASE)
    safe = re.sub(r"\r\n?", "\n", safe)  # as a browser reads line ends before it takes the hash
    return Markup(safe)  # noqa: S704 a library's code
