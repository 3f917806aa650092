"""Lists of serial numbers, as people and their spreadsheets write them: one reader for `batch` and for the server."""

import csv
import io
from pathlib import Path

from tools.arguments import shown
from tools.factory import settings
from tools.factory.errors import FactoryError
from tools.text_files import TextError, read_text

COLUMN = "serial"
_DELIMITERS = (",", ";", "\t")
_NAMED_AT_MOST = 10


class _Row:
    """A line of the file: its number, and its cells without spaces around them."""

    def __init__(self, number: int, cells: list[str]) -> None:
        self.number = number
        self.cells = [cell.strip() for cell in cells]

    def cell(self, column: int) -> str:
        return self.cells[column] if column < len(self.cells) else ""


def read_serials(path: Path, column: str | None = None) -> list[str]:
    """The serial numbers of a text file: those of its column `column` (None: "serial"), separated by commas,
    semicolons or tabs, or one on each line without a line that names it. FactoryError names the lines that are wrong,
    all of them up to ten, or the columns that are there when none of them is meant."""
    name = (column or COLUMN).strip().casefold()
    rows = _rows(path, name)
    if not rows:
        raise FactoryError(f"{path} holds no serial number")
    index, rows = _find_column(path, rows, name, is_named=column is not None)
    serials: dict[str, str] = {}
    lines: dict[str, int] = {}
    wrong = []
    for row in rows:
        serial = row.cell(index)
        key = serial.casefold()
        if key in serials:
            other = f"{serials[key]} of line {lines[key]}"
            same = f"repeats {other}" if serials[key] == serial else f"{serial} differs from {other} by case only"
            wrong.append(f"line {row.number}{':' if serials[key] != serial else ''} {same}")
            continue
        try:
            serials[key] = settings.check_serial(serial)
            lines[key] = row.number
        except ValueError:
            wrong.append(f"line {row.number}: {serial!r} is no serial number")
    if wrong:
        rest = f"; and {len(wrong) - _NAMED_AT_MOST} more" if len(wrong) > _NAMED_AT_MOST else ""
        raise FactoryError(f"{path}: {'; '.join(wrong[:_NAMED_AT_MOST])}{rest}: nothing was made")
    if not serials:
        raise FactoryError(f"{path} holds no serial number")
    return list(serials.values())


def _rows(path: Path, name: str) -> list[_Row]:
    """The lines that are not empty, taken apart at the separator that shows a column `name` in the first of them, or
    that stands there most often."""
    try:
        lines = list(io.StringIO(read_text(path), newline=""))
        first = next((number for number, line in enumerate(lines) if line.strip()), 0)
        head = lines[first].strip() if lines else ""
        if head.lower().startswith("sep=") and len(head) == len("sep=;"):  # Excel's own first line
            return _parse(lines, first + 1, head[-1])
        for delimiter in _DELIMITERS:
            rows = _parse(lines, first, delimiter)
            if rows and name in map(str.casefold, rows[0].cells):
                return rows
        return _parse(lines, first, max(_DELIMITERS, key=head.count))
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror}") from error
    except TextError as error:
        raise FactoryError(f"{path} is no CSV file in UTF-8: {error}") from error
    except (csv.Error, TypeError) as error:
        raise FactoryError(f"{path} is no CSV file: {error}") from error


def _parse(lines: list[str], skipped: int, delimiter: str) -> list[_Row]:
    reader = csv.reader(lines[skipped:], delimiter=delimiter)
    return [_Row(skipped + reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]


def _find_column(path: Path, rows: list[_Row], name: str, is_named: bool) -> tuple[int, list[_Row]]:
    """Where the serial numbers stand, and the rows that hold them. A guess would make boards named "order"."""
    head = rows[0].cells
    matches = [index for index, cell in enumerate(head) if cell.casefold() == name]
    if len(matches) == 1:
        return matches[0], rows[1:]
    columns = ", ".join(shown(cell) if cell else "(no name)" for cell in head)
    if matches:
        raise FactoryError(f"{path} has {len(matches)} columns {name!r} ({columns}): nothing was made")
    if not is_named and len(head) == 1 and not _is_title(rows):
        return 0, rows
    raise FactoryError(
        f"{path} has no column {name!r}, its first line says {columns}: "
        "name the one with the serial numbers, COLUMN=…; nothing was made"
    )


def _is_title(rows: list[_Row]) -> bool:
    """True when the first line of a single column is its title: no serial number, or the only one without a digit."""

    def counts(row: _Row) -> bool:
        return any(char.isdigit() for char in row.cells[0])

    first, *others = rows
    return not counts(first) and bool(others) and all(map(counts, others))
