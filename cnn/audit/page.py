"""An audit as one HTML page: no script, no network, readable at phone width and in the dark."""

from html import escape

from cnn.audit.result import Audit
from cnn.audit.views import HEADS, cells, footnotes, setting

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #777; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
th { font-weight: 600; vertical-align: bottom; }
.n { text-align: right; white-space: nowrap; }
tr.none td { color: var(--soft); }
li { margin: .4rem 0; }
li:target { background: #fc06; }
.advice { border-left: 4px solid #37a; padding-left: 1rem; }
"""


def html(audit: Audit) -> str:
    """The page: setting, advice, table, and the warnings that the table's numbers lead to."""
    warnings = footnotes(audit)
    heads = "".join(
        f'<th scope="col"{_kind(i)}>{escape(head)}</th>' for i, head in enumerate([*HEADS, "notes"])
    )
    rows = "\n".join(_row(audit, k, warnings) for k in range(len(audit.rows)))
    listed = "\n".join(
        f'<li id="w{number}">{escape(warning)}</li>' for warning, number in warnings.items()
    )
    parts = [
        f"<h1>What decays in {escape(audit.optimizer)}</h1>",
        f"<p>{escape(setting(audit))}</p>",
        f'<p class="advice">{escape(audit.advice)}</p>' if audit.advice else "",
        *(f"<p>{escape(note)}</p>" for note in audit.notes),
        f'<div class="wide" tabindex="0"><table>\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>",
        f"<h2>Notes</h2>\n<ol>\n{listed}\n</ol>" if warnings else "",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Decay audit: {escape(audit.optimizer)}</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n{chr(10).join(filter(None, parts))}\n</body></html>\n"
    )


def _row(audit: Audit, k: int, warnings: dict[str, int]) -> str:
    row = audit.rows[k]
    links = " ".join(
        f'<a href="#w{warnings[w]}" title="{escape(w, quote=True)}">{warnings[w]}</a>'
        for w in row.warnings
    )
    texts = [escape(cell) for cell in cells(audit, row)]
    inside = "".join(f"<td{_kind(i)}>{cell}</td>" for i, cell in enumerate([*texts, links]))
    return f'<tr class="none">{inside}</tr>' if row.rule == "none" else f"<tr>{inside}</tr>"


def _kind(column: int) -> str:
    """Numbers to the right."""
    return ' class="n"' if 3 <= column < len(HEADS) else ""
