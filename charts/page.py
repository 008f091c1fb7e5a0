"""Page: blocks into one HTML file that needs nothing else and cannot fetch anything.

Texts of a corpus are hostile: every value is escaped by the templates, scripts run only if their digest is in the page's
Content-Security-Policy, and the policy forbids every request.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from charts.blocks import Section, Share


def render(
    template: str, *, packages: Sequence[str] = (), script: str = "", served: bool = False, **values: Any
) -> str:
    """A page from a template.

    Args:
        packages: packages with a `templates` folder that are searched before this one's.
        script: name of the JavaScript file among the templates that runs in the page; "" = none.
        served: the page comes from a server of ours and may show its pictures and ask it again; else it can reach nothing.
        values: what the template shows.
    """
    environment = _environment(tuple(packages))
    code = _source(environment, script) if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    policy = [
        "default-src 'none'",
        "img-src 'self'" if served else "img-src data:",
        "media-src 'self'" if served else "media-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'" if code else "script-src 'none'",
        "base-uri 'none'",
        "form-action 'self'" if served else "form-action 'none'",
    ]
    style = Markup(_source(environment, "style.css"))
    values |= {"policy": Markup("; ".join(policy)), "script": Markup(code), "style": style}
    return environment.get_template(template).render(values)


def sections_facts(sections: Sequence[Section]) -> dict[str, Any]:
    """The numbers of a page, as JSON."""
    return {section.title: facts for section in sections if (facts := section.facts())}


def shown(value: Any) -> str:
    """A cell as people read it: thousands apart, four digits of a fraction, shares in per cent."""
    if value is None:
        return ""
    if isinstance(value, Share):
        return f"{100 * value:.2f} %"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def breakable(name: str) -> str:
    """A name in CamelCase that may go on in the next line at its capitals (by zero-width spaces)."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "\u200b", name)


def is_number(value: Any) -> bool:
    """Whether a cell stands right-aligned."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


@cache
def _environment(packages: tuple[str, ...]) -> Environment:
    loaders = [PackageLoader(package) for package in (*packages, "charts")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = shown
    environment.filters["breakable"] = breakable
    environment.tests["figure"] = is_number
    return environment


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
