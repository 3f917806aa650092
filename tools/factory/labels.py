"""The label sheet: one HTML file to print on A4 sheets of 24 labels of 70 mm x 37 mm, each with a QR code."""

import html
import io
from dataclasses import dataclass

import segno

from tools.factory.setup_network import join_code

_PER_SHEET = 24

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
@page {{ size: A4; margin: 0 }}
body {{ margin: 0; font: 2.4mm/1.25 Helvetica, Arial, sans-serif; color: #000; background: #fff }}
.sheet {{ width: 210mm; height: 296mm; break-after: page }}
.sheet {{ display: grid; grid-template: repeat(8, 37mm) / repeat(3, 70mm) }}
.label {{ box-sizing: border-box; padding: 3.5mm; display: flex; gap: 2mm; align-items: center; overflow: hidden }}
.label svg {{ width: 26mm; height: 26mm; flex: none }}
.label b {{ display: block; font-size: 4mm }}
.label div div {{ margin-top: 0.6mm }}
.label code {{ white-space: pre-wrap; font: 2.8mm/1.25 Menlo, Consolas, monospace; overflow-wrap: anywhere }}
@media screen {{ .label {{ outline: 0.1mm dashed #bbb }} }}
</style>
{sheets}
</html>
"""


@dataclass(frozen=True, repr=False)
class Label:
    """What one label says: the serial number, and the setup network's name and password."""

    serial: str
    network: str
    password: str


def sheet(product: str, boards: list[Label]) -> str:
    """The page for these boards. A QR code holds what joins a phone to the board's setup network."""
    labels = [_label(product, board) for board in boards]
    sheets = [labels[start : start + _PER_SHEET] for start in range(0, len(labels), _PER_SHEET)]
    pages = "\n".join(f'<div class="sheet">\n{chr(10).join(page)}\n</div>' for page in sheets)
    return _PAGE.format(title=html.escape(f"{product}: {len(boards)} label{'s' * (len(boards) != 1)}"), sheets=pages)


def _label(product: str, board: Label) -> str:
    picture = io.BytesIO()
    code = segno.make(join_code(board.network, board.password), error="m", micro=False)
    code.save(picture, kind="svg", xmldecl=False, svgns=False, omitsize=True, nl=False)
    lines = [("Serial number", board.serial), ("WiFi for the setup", board.network), ("Password", board.password)]
    text = "".join(f"<div>{title}<br><code>{html.escape(value)}</code></div>" for title, value in lines)
    return f'<div class="label">{picture.getvalue().decode()}<div><b>{html.escape(product)}</b>{text}</div></div>'
