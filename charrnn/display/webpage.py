"""Writes self-contained HTML pages.

They have no script, no network access (a Content-Security-Policy forbids both) and no date: the same input gives the
same bytes. All text is escaped, and characters that could disturb the page are shown as symbols. Pages have a light and
a dark colour scheme.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from charrnn.display.css import css
from charrnn.display.palette import Colour
from charrnn.display.safe import visible

_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
""".strip()
_STYLE = """
h1, p { overflow-wrap: anywhere; }
h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .25rem; overflow-wrap: anywhere; }
pre { font: 15px/1.6 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0; }
.legend { height: .8rem; width: 16rem; max-width: 60vw; display: inline-block; margin: 0 .5rem; }
.m { text-decoration: underline 2px; }
.legend { outline: 1px solid #8888; }
""".strip()


def frame(heading: str, body: str, style: str = "") -> str:
    """Returns a page around `body`, which is HTML; `style` adds CSS rules to those that every page has."""
    rules = f"{_PAGE_STYLE}\n{_STYLE}\n{style}".rstrip()
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>\n{rules}\n</style>\n</head>\n<body>\n"
        f"<h1>{escape(heading)}</h1>\n{body}\n</body>\n</html>\n"
    )


def legend(low: str, high: str, colours: Sequence[Colour]) -> str:
    """Returns a legend: a line with the ends of a range and its colours, which follow each other at equal distances."""
    stops = ", ".join(map(css, colours))
    return f'<div>{low}<span class="legend" style="background:linear-gradient(90deg, {stops})"></span>{high}</div>\n'


def escape(text: str) -> str:
    """Returns text as HTML: escaped, and with symbols in place of characters that could disturb the page."""
    return html.escape(visible(text, kept=""))
