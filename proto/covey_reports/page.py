"""Reports from jinja2 templates: pages of one HTML file that loads nothing, and runs nothing but its own scripts.

A page's template extends `frame.html.jinja` and takes its parts (figures, tables, notes) from `parts.html.jinja`. Every
value is escaped: names of classes and models may hold HTML.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from covey_reports import language

_IMPORT = r'import .* from "./dom.js";\n'


def write_page(package: str, template: str, *, scripts: Sequence[str] = (), **values: object) -> str:
    """The `template` in the folder `templates` of `package` as a page for light and dark screens, paper and screen
    readers. Every page needs the values `title` and `subtitle`.

    `scripts` are names of modules in the folder `scripts` here. They add to a page that is complete without them; its
    policy lets nothing else run. The page is in the language that is spoken, see covey_reports.language.
    """
    script = _join(scripts) if scripts else ""
    policy = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" if script else "'none'"
    return (
        _environment(package)
        .get_template(template)
        .render(**values, headings=[], script=Markup(script), policy=Markup(policy), spoken=_said(script))
    )


def _join(names: Sequence[str]) -> str:
    """Modules as one that imports nothing: dom.js, and each of the others in a block, so that names stay its own."""
    folder = resources.files("covey_reports") / "scripts"
    dom, *texts = ((folder / f"{name}.js").read_text(encoding="utf-8") for name in ("dom", *names))
    blocks = "".join(f"{{\n{re.sub(_IMPORT, '', text)}}}\n" for text in texts)
    return dom.replace("export ", "") + blocks


def texts_of_scripts(script: str) -> list[str]:
    """The English texts that modules say: what they give `say` first."""
    return list(dict.fromkeys(re.findall(r'\bsay\("([^"]+)"', script)))


def _said(script: str) -> dict[str, str]:
    """What scripts find in the page: their texts in its language; nothing in English, which they have themselves."""
    return {} if language.is_english() else {text: language.say(text) for text in texts_of_scripts(script)}


def _environment(package: str) -> Environment:
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("covey_reports")]),
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    made.filters["anchor"] = _anchor
    made.filters["plural"] = language.counted
    made.globals.update(say=language.say, words=language.words, tag=language.tag)
    made.filters["percent"] = "{:.2%}".format
    made.filters["thousands"] = "{:,}".format
    made.filters["letter"] = lambda place: chr(ord("A") + place - 1)  # for the first, second, ...
    made.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))  # for attributes
    return made


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
