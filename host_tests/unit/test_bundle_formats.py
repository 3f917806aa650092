"""The bundle that `make publish` makes, read by others: MicroPython's own ROMFS reader, and the device's two."""

import json

import pytest

from host_tests.unit import vm
from tools import release


@pytest.mark.vm
def test_bundle_made_with_mpremotes_writer_is_read_alike_by_micropythons_reader_and_ours(tmp_path):
    files = {
        "/manifest.json": b'{"product": "Thermometer", "release": 1}',
        "/main.py": b"",
        "/a/b/c/deep.mpy": bytes(range(256)) * 9,
        "/a/x.txt": "\u00e4".encode(),
    }
    whole = release.release_files(release.Contents(1), "1.27.0", source=True)
    small = {path: content for path, content in whole.items() if path.startswith(("/agent/", "/board/"))}
    files |= {path: content for path, content in small.items() if len(content) < 2000}
    (tmp_path / "bundle").write_bytes(release.bundle(files))
    (tmp_path / "paths.json").write_text(json.dumps({path: len(content) for path, content in files.items()}))
    done = vm.run(tmp_path, "host_tests.unit.romfs", "compare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{len(files)}\n"
