"""A hook of MkDocs: formulas become MathML while the pages are built.

Browsers draw MathML themselves, so that no page loads a script from elsewhere.
"""

import html
import re

from latex2mathml.converter import convert


FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)


def _mathml(match: re.Match) -> str:
    display = "block" if match["tag"] == "div" else "inline"
    return convert(html.unescape(match["tex"]), display=display)


def on_page_content(content: str, **_) -> str:
    """Called by MkDocs with the HTML of each page."""
    return FORMULA.sub(_mathml, content)
