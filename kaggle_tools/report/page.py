"""Values and templates to one HTML file.

The file asks for nothing: images, style and script are in it, and its own content security policy forbids the rest.
Names of files and runs come from elsewhere, so that everything is escaped, and no script runs but those in
`templates/page.js` and `templates/view.js`, whatever a name contains.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from kaggle_tools.data.draw_outlines import FALSE_NEGATIVE, FALSE_POSITIVE, PREDICTED, TRUE
from kaggle_tools.report.parts.comparison import ComparisonPart
from kaggle_tools.report.parts.masks import MasksPart
from kaggle_tools.report.parts.progress import ProgressPart
from kaggle_tools.report.parts.run import RunPart
from kaggle_tools.report.parts.submissions import SubmissionsPart
from kaggle_tools.report.places import LIVE_MARK
from kaggle_tools.system.files import write_text
from kaggle_tools.system.output import printable
from kaggle_tools.system.version import commit

MARKS = {"true": TRUE, "predicted": PREDICTED, "false_negative": FALSE_NEGATIVE, "false_positive": FALSE_POSITIVE}
"""What is drawn into photos: the legends take their words and colours from here."""
SCRIPTS = ("page.js", "view.js")
_LEFTWARD = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff"
"""The blocks of scripts that are written from right to left, such as Hebrew and Arabic."""
_WORD = rf"[^\s,;:()]*[{_LEFTWARD}][^\s,;:()]*"
_LEFTWARD_WORDS = re.compile(rf"{_WORD}(?: {_WORD})*")


@dataclass(frozen=True)
class Page:
    """What `templates/page.html` shows; a part that is None is left out."""

    title: str
    kind: str
    """Above the title: of what it is a page."""
    line: str
    """Below the title: what it shows, in one line."""
    contents: Sequence[tuple[str, str]]
    """The anchors of its sections, and their headings."""
    comparison: ComparisonPart | None = None
    run: RunPart | None = None
    progress: ProgressPart | None = None
    masks: MasksPart | None = None
    submissions: SubmissionsPart | None = None
    beside: str = ""
    """Of a page that says how far a run is: the file with the page of its finished folds; empty where there is none."""


def write_page(path: Path, page: Page) -> None:
    """Write a page, whole or not at all; what UTF-8 does not have, as the path of a folder may, is written out."""
    environment = Environment(
        loader=PackageLoader("kaggle_tools.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["zip"] = zip
    environment.filters["isolated"] = isolated
    environment.globals["marks"] = MARKS
    environment.globals["live_mark"] = Markup(LIVE_MARK)
    script = "\n".join(environment.get_template(name).render() for name in SCRIPTS)
    made = {"time": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": (commit() or "")[:7]}
    values = {field.name: getattr(page, field.name) for field in fields(page)}
    template = environment.get_template("page.html")
    html = template.render(script=script, script_hash=_hash(script), made=made, **values)
    write_text(path, html.encode("utf-8", "backslashreplace").decode())


def _shown(value: object) -> object:
    """A text as a page shows it: control characters are written out, so that no command that is copied holds them."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def isolated(text: str) -> Markup:
    """A text in which words that are written from right to left do not turn what stands beside them, as digits."""
    shown, found, at = printable(text), Markup(), 0
    for words in () if shown.isascii() else _LEFTWARD_WORDS.finditer(shown):
        found += escape(shown[at : words.start()]) + Markup("<bdi>{}</bdi>").format(words.group())
        at = words.end()
    return found + escape(shown[at:])


def _hash(script: str) -> str:
    """As a content security policy names the only script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
