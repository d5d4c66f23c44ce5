"""The report: figures in the paper's order and what made them, as one self-contained page."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import vl_convert
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from prunescope.paths import REPORTS


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
    for entry in yaml.safe_load(_ours("sections.yaml")):
        stems = entry.pop("figures")
        names = [name for stem in stems for name in figures if (name + "_").startswith(f"{stem}_")]
        found.append(Section(**entry, figures={name: left.pop(name) for name in names}))
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
