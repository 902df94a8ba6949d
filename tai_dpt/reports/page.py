"""Pages that open from disk: one file, no network."""

from __future__ import annotations

import base64
import html
import io

from PIL import Image

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6169; --paper: #ffffff;
  --card: #f5f6f8; --line: #d9dce1; --accent: #b3470a; --accent-soft: #e9a26f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e9eb; --soft: #a6abb3; --paper: #16181b;
  --card: #202327; --line: #363b42; --accent: #f0955a; --accent-soft: #8a4a20; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.25rem clamp(0.9rem, 4vw, 2.5rem) 4rem; max-width: 76rem;
  font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.6rem; padding-top: 0.6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 0.4rem; }
p, figcaption, .soft { color: var(--soft); } p { max-width: 46rem; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
figure { margin: 0; } figcaption { font-size: 0.85rem; margin-top: 0.25rem; }
img { max-width: 100%; height: auto; display: block; border-radius: 6px; }
table { border-collapse: collapse; } th, td { padding: 0.25rem 0.9rem 0.25rem 0; text-align: left;
  vertical-align: top; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } .skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: 0.5rem; background: var(--paper); padding: 0.4rem; }
"""


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole page around ``body``, which is HTML; ``title`` is plain text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f'<main id="main" tabindex="-1">\n{body}\n</main>\n'
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def text(value: object) -> str:
    """Plain text as HTML."""
    return html.escape(str(value), quote=True)


def image(image: Image.Image, alt: str, *, quality: int = 85) -> str:
    """An ``img`` element that contains its image."""
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality)
    data = base64.b64encode(stream.getvalue()).decode()
    return (
        f'<img src="data:image/webp;base64,{data}" alt="{text(alt)}" width="{image.width}" '
        f'height="{image.height}" loading="lazy">'
    )
