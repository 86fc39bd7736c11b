"""What all pages have in common: one HTML file that needs nothing but itself, with everything of a user's escaped."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from holdfast.core.artifacts import Artifact, Table

ARTIFACT_BYTES = 600_000
"""Artifacts beyond this many characters of HTML are left out of a page, which says so."""

MANY_ROWS = 15
"""Tables of more rows are folded."""


@dataclass(frozen=True)
class Shown:
    """An artifact as a template places it."""

    name: str
    caption: str
    html: Markup
    folded: bool

    @staticmethod
    def of(artifact: Artifact) -> Shown:
        """Draw an artifact."""
        folded = isinstance(artifact, Table) and len(artifact.rows) > MANY_ROWS
        return Shown(artifact.name, artifact.caption, Markup(artifact.to_html()), folded)


def render_page(template: str, **values: Any) -> str:
    """A page as text. The only script is the page's own, which sorts tables and switches colors; it works without.

    Args:
        template: A file of ``templates/`` that extends ``base.html``.
        values: What the template names.
    """
    script = _file("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        _templates()
        .get_template(template)
        .render(style=Markup(_file("report.css")), script=Markup(script), script_hash=f"sha256-{digest}", **values)
    )
    return _with_unique_ids(page.encode("utf-8", "replace").decode())  # a file name may hold bytes that are no text


def flat(values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Names and values of nested mappings, as text."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value)
        else:
            yield name, str(value)


def _file(name: str) -> str:
    return importlib.resources.files("holdfast.reports").joinpath(f"templates/{name}").read_text("utf-8")


def _with_unique_ids(page: str) -> str:
    """The page with ids counted by drawing: equal drawings come with equal ids."""
    drawings = re.split("(?=<svg )", page)
    hashed = re.compile(r"""((?: id="|url\(#|xlink:href="#))[0-9a-f]{8}-""")
    return "".join(hashed.sub(rf"\g<1>d{k}-", drawing) for k, drawing in enumerate(drawings))


@functools.cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("holdfast.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["safe_html"] = Markup
    templates.filters["thousands"] = lambda n: f"{n:,}"
    return templates
