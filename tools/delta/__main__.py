"""`python -m tools.delta`: make a patch, look at one, follow one as a device does."""

import argparse
import hashlib
import sys
from pathlib import Path

from tools.arguments import count, failed
from tools.delta import NOTHING_SAVED, PatchError
from tools.delta.maker import apply_patch, make_patch, read_header


def main(arguments: list[str] | None = None) -> int:
    """Do one of the three. 0: done, 1: it failed, 2: wrong arguments, 3: a patch would save nothing; with one line on
    standard error for all but the first."""
    options = _parse(arguments)
    try:
        return options.run(options)
    except (PatchError, OSError) as error:
        return failed("delta", error, 1)


def _make(options: argparse.Namespace) -> int:
    base = options.base.read_bytes() if options.base else b""
    image = options.image.read_bytes()
    below_bytes = options.below or len(image)
    patch = make_patch(base, image, below_bytes)
    if patch is None:
        problem = f"a patch for {options.image} is no smaller than {below_bytes:,} bytes"
        return failed("delta", problem, NOTHING_SAVED)
    options.out.write_bytes(patch)
    print(f"{options.out}: {len(patch):,} bytes, {len(patch) / len(image):.2%} of {options.image}")
    return 0


def _show(options: argparse.Namespace) -> int:
    header = read_header(options.patch.read_bytes())
    blocks = [header.offset(block + 1) - header.offset(block) for block in range(header.blocks)]
    base = f"{header.base_bytes:,} bytes, SHA-256 {header.base_sha256.hex()}" if header.base_bytes else "none"
    print(f"base:   {base}")
    print(f"result: {header.size_bytes:,} bytes, SHA-256 {header.sha256.hex()}")
    print(f"patch:  {header.patch_bytes:,} bytes, {header.patch_bytes / header.size_bytes:.2%} of the result")
    print(f"blocks: {header.blocks} of {header.block_bytes:,} bytes, {min(blocks):,} to {max(blocks):,} in the patch")
    return 0


def _apply(options: argparse.Namespace) -> int:
    base = options.base.read_bytes() if options.base else b""
    patch = options.patch.read_bytes()
    image = apply_patch(base, patch)
    if hashlib.sha256(image).digest() != read_header(patch).sha256:
        raise PatchError(f"what {options.patch} makes does not match its SHA-256")
    options.out.write_bytes(image)
    print(f"{options.out}: {len(image):,} bytes")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m tools.delta", description=__doc__)
    commands = parser.add_subparsers(required=True, parser_class=_Parser)
    make = commands.add_parser("make", help="make a patch, from --base or, without it, a compressed release")
    make.add_argument("--base", type=Path)
    make.add_argument("--image", type=Path, required=True)
    make.add_argument(
        "--below", type=count, metavar="BYTES", help="the patch must be smaller (default: than the image)"
    )
    make.add_argument("--out", type=Path, required=True)
    make.set_defaults(run=_make)
    show = commands.add_parser("show", help="say what a patch is for, and how large its blocks are")
    show.add_argument("patch", type=Path)
    show.set_defaults(run=_show)
    apply = commands.add_parser("apply", help="follow a patch with the device's own code")
    apply.add_argument("patch", type=Path)
    apply.add_argument("--base", type=Path)
    apply.add_argument("--out", type=Path, required=True)
    apply.set_defaults(run=_apply)
    return parser.parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    """One line for wrong arguments, instead of the usage text and a line."""

    def error(self, message: str):
        self.exit(2, f"delta: {message}\n")


if __name__ == "__main__":
    sys.exit(main())
