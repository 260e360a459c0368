"""Reports from jinja2 templates: pages of one HTML file that loads nothing.

A page's template extends `frame.html.jinja` and takes its parts (figures, tables, notes) from `parts.html.jinja`. Every
value is escaped: names of classes and models may hold HTML.
"""

from __future__ import annotations

import re

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from covey_proto.wording import plural


def write_page(package: str, template: str, **values: object) -> str:
    """The `template` in the folder `templates` of `package` as a page for light and dark screens, paper and screen
    readers. Every page needs the values `title` and `subtitle`.
    """
    return _environment(package).get_template(template).render(**values, headings=[])


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
    made.filters["plural"] = plural
    made.filters["percent"] = "{:.2%}".format
    made.filters["thousands"] = "{:,}".format
    return made


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
