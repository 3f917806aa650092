"""The label sheet: one HTML file to print on A4 sheets of 24 labels of 70 mm x 37 mm, each with a QR code."""

import html
import io

import segno

_PER_SHEET = 24

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
@page {{ size: A4; margin: 0 }}
body {{ margin: 0; font: 3.2mm/1.35 Helvetica, Arial, sans-serif; color: #000; background: #fff }}
.sheet {{ width: 210mm; height: 296mm; break-after: page }}
.sheet {{ display: grid; grid-template: repeat(8, 37mm) / repeat(3, 70mm) }}
.label {{ box-sizing: border-box; padding: 3.5mm; display: flex; gap: 2mm; align-items: center; overflow: hidden }}
.label svg {{ width: 26mm; height: 26mm; flex: none }}
.label b {{ display: block; font-size: 4mm }}
.label code {{ font: 2.8mm/1.3 Menlo, Consolas, monospace; overflow-wrap: anywhere }}
@media screen {{ .label {{ outline: 0.1mm dashed #bbb }} }}
</style>
{sheets}
</html>
"""


def sheet(product: str, serials: list[str]) -> str:
    """The page for these serial numbers. A QR code holds the serial number and nothing else."""
    labels = [_label(product, serial) for serial in serials]
    sheets = [labels[start : start + _PER_SHEET] for start in range(0, len(labels), _PER_SHEET)]
    pages = "\n".join(f'<div class="sheet">\n{chr(10).join(page)}\n</div>' for page in sheets)
    return _PAGE.format(title=html.escape(f"{product}: {len(serials)} labels"), sheets=pages)


def _label(product: str, serial: str) -> str:
    picture = io.BytesIO()
    code = segno.make(serial, error="m", micro=False)
    code.save(picture, kind="svg", xmldecl=False, svgns=False, omitsize=True, nl=False)
    text = f"<b>{html.escape(product)}</b>Serial number<br><code>{html.escape(serial)}</code>"
    return f'<div class="label">{picture.getvalue().decode()}<div>{text}</div></div>'
