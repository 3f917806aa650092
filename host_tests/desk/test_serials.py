"""Lists of serial numbers: what a spreadsheet, an editor or an order system writes makes the right boards, or none."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.factory import FactoryError
from tools.factory.serials import read_serials


@pytest.fixture
def read(tmp_path):
    """Reads a list of this content."""

    def run(content: str | bytes, column: str | None = None) -> list[str]:
        path = tmp_path / "serials.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_serials(path, column)

    return run


def refusal(read, content, *told, column=None) -> None:
    with pytest.raises(FactoryError) as caught:
        read(content, column)
    text = str(caught.value)
    assert "\n" not in text and text.isprintable()
    for part in told:
        assert part in text, text


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_list_as_spreadsheets_write_it(read, mark, end, between):
    rows = [["Batch", " Serial "], ["1", " A1 "], ["", ""], ["x", '"A2"'], ["3", "A3"]]
    assert read(mark + end.join(between.join(row) for row in rows)) == ["A1", "A2", "A3"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_plain_list_of_one_on_each_line(read, mark, end):
    assert read(mark + end.join(["A1", "", "  A2\t", "A3"])) == ["A1", "A2", "A3"]


def test_excels_own_first_line_names_the_separator(read):
    assert read("sep=;\r\nnote,with,commas;serial\r\na,b,c,d;A1\r\n") == ["A1"]
    refusal(read, "sep=;\r\nserial\r\nA1\r\na b\r\n", "line 4")


def test_order_list_makes_no_board_named_order(read):
    """What was made of it: boards named "order" and "1001"."""
    refusal(read, "order,number\n1001,A1\n", "no column 'serial'", "order, number", "COLUMN=…")
    refusal(read, "order\n1001\n1002\n", "its first line says order", "COLUMN=…")
    refusal(read, "Seriennummer\nA1\nA2\n", "Seriennummer")
    refusal(read, "A1,red\nA2,blue\n", "its first line says A1, red")
    refusal(read, "a,,b\n1,2,3\n", "a, (no name), b")


def test_column_that_is_named_is_the_one(read):
    assert read("order;SN\n1001;A1\n1002;A2\n", column="sn") == ["A1", "A2"]
    assert read("order\n1001\n", column="order") == ["1001"]
    assert read("serial,other\nA1,B1\n", column="other") == ["B1"]
    refusal(read, "order,SN\n1001,A1\n", "no column 'number'", "order, SN", column="number")
    refusal(read, "SN,SN\nA1,A2\n", "2 columns 'sn'", column="SN")
    refusal(read, "serial,Serial\nA1,A2\n", "2 columns 'serial'")


def test_case_alone_makes_no_second_serial_number(read):
    """On a Mac's disk the images would be one file, and people read one number."""
    refusal(read, "ABC1\nabc2\nabc1\n", "line 3: abc1 differs from ABC1 of line 1 by case only", "nothing was made")
    refusal(read, "ABC1\nABC1\n", "line 2 repeats ABC1 of line 1")


def test_other_encodings_are_named(read):
    refusal(read, "serial\nA1\n".encode("utf-16"), "no CSV file in UTF-8: it is text in UTF-16")
    refusal(read, b"serial\nA\xe91\n", "byte 9 is no UTF-8")


def test_names_that_move_a_terminals_cursor_are_not_shown_raw(read):
    refusal(read, "serial\nA\x1b[2J\n", r"'A\x1b[2J' is no serial number")
    refusal(read, "a\x1b[2J,b\n1,2\n", r"a\x1b[2J, b")


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n", "serial\n", ";;\n;;\n"])
def test_list_of_nothing(read, content):
    refusal(read, content, "holds no serial number")


NAMES = st.lists(st.from_regex(r"[A-Z][0-9]{1,6}", fullmatch=True), min_size=1, max_size=8, unique=True)


@given(NAMES, st.sampled_from([csv.excel, csv.excel_tab, csv.unix_dialect]), st.integers(0, 3), st.booleans())
def test_every_list_that_a_csv_writer_writes_is_read_back(tmp_path_factory, names, dialect, place, marked):
    file = io.StringIO(newline="")
    rows = [["serial"], *[[name] for name in names]]
    csv.writer(file, dialect).writerows([["x"] * place + row + ["a,b;c"] for row in rows])
    path = tmp_path_factory.mktemp("list") / "serials.csv"
    path.write_bytes(file.getvalue().encode("utf-8-sig" if marked else "utf-8"))
    assert read_serials(path) == names
