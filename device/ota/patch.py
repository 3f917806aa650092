"""Rebuilding a release from the running one and a patch, in fixed memory. The format: docs/patch-format.md.

The same reader serves a release that is only compressed: its base is empty. A patch is not trusted: whatever it holds,
reads stay inside of the base, and what comes out is no longer than the header has said and the slot can take.
"""

import struct

import deflate
from agent.errors import PermanentError, RetryableError
from micropython import RingIO, const

_COMMAND = const("<iHHH")  # seek, bytes to copy, pairs, bytes to insert
_COMMAND_BYTES = const(10)
_PIECE_BYTES = const(512)  # inflated at once, or received
_RING_BYTES = const(2048)
# A piece takes 15 bits for each byte at most, and tables of codes: 1.5 KB, which a ring with less room than this holds.
_ROOM_BYTES = const(512)
_NEVER = const(1 << 20)  # farther than any copy is long


class PatchBody:
    """The bytes of the new release from block `first_block` on, made from the slot `base` and the patch's blocks in
    `response`, whose `readinto` must begin at `header.offset(first_block)`. `base` may be None for a patch without one.

    RetryableError "patch_cut" for a patch that breaks off, "patch_damaged" for one that cannot be followed."""

    surplus_bytes = 0

    def __init__(self, response, base, header, first_block: int = 0) -> None:
        if header.base_bytes and header.base_bytes > base.size_bytes:
            raise PermanentError("patch_other_base")
        self._base = base
        self._base_bytes = header.base_bytes
        self._block_bytes = header.block_bytes
        self._buffer = memoryview(bytearray(_PIECE_BYTES))
        to_receive_bytes = header.patch_bytes - header.offset(first_block)
        self._inflated = _Inflated(response, to_receive_bytes, header.window_bits, self._buffer)
        self._at = first_block * header.block_bytes  # of the new release
        self._end = header.size_bytes
        self._block_end = self._at
        self.size_bytes = self._end - self._at
        # The command that is being followed: what it still copies from where, and then inserts
        self._base_at = 0
        self._copy_bytes = 0
        self._insert_bytes = 0
        self._pairs = 0  # of it that are still to be inflated
        self._pair = 0  # the buffer holds those from here
        self._pairs_end = 0  # to here; 0 when there are none
        self._difference_at = 0  # where the next byte that differs lies, counted from the next byte that is copied

    def readinto(self, view: memoryview) -> int:
        """Fill the view with the release's next bytes; return how many, fewer only at its end."""
        done = 0
        want = min(len(view), self._end - self._at)
        while done < want:
            if self._copy_bytes:
                count = min(self._copy_bytes, want - done)
                self._copy(view[done : done + count], count)
            elif self._insert_bytes:
                count = min(self._insert_bytes, want - done, _PIECE_BYTES)
                self._inflated.fill(view[done : done + count])
                self._insert_bytes -= count
            else:
                self._next_command()
                continue
            done += count
            self._at += count
        return done

    def finish(self) -> None:
        """Check that nothing follows."""
        self._inflated.finish()

    def _next_command(self) -> None:
        if self._at == self._block_end:
            self._block_end = min(self._at + self._block_bytes, self._end)
            self._base_at = self._at
        command = self._buffer[:_COMMAND_BYTES]
        self._inflated.fill(command)
        seek, copy_bytes, self._pairs, self._insert_bytes = struct.unpack(_COMMAND, command)
        self._base_at += seek
        if not 0 < copy_bytes + self._insert_bytes <= self._block_end - self._at:
            raise _damaged("command")
        if copy_bytes and not 0 <= self._base_at <= self._base_bytes - copy_bytes:
            raise _damaged("copy")
        self._copy_bytes = copy_bytes
        self._next_pairs()
        self._difference_at = self._buffer[0] if self._pairs_end else _NEVER

    def _copy(self, view: memoryview, count: int) -> None:
        """Copy as many bytes from the base, and add the differences that lie among them."""
        self._base.read(self._base_at, view)
        self._base_at += count
        self._copy_bytes -= count
        at = self._difference_at
        if at < count:
            # This loop is where the time of a patch goes.
            buffer, pair, end = self._buffer, self._pair, self._pairs_end
            while at < count:
                view[at] = (view[at] + buffer[pair + 1]) & 0xFF
                pair += 2
                if pair == end:
                    self._next_pairs()
                    pair, end = 0, self._pairs_end
                    if not end:
                        at = _NEVER
                        break
                at += buffer[pair] + 1
            self._pair = pair
        self._difference_at = at - count
        if not self._copy_bytes and self._pairs_end:
            raise _damaged("pairs")

    def _next_pairs(self) -> None:
        """Inflate pairs into the buffer, when there are more."""
        end = min(self._pairs * 2, _PIECE_BYTES)
        if end:
            self._inflated.fill(self._buffer[:end])
        self._pairs -= end // 2
        self._pair = 0
        self._pairs_end = end


class _Inflated:
    """What the next `to_receive_bytes` in `response` inflate to. What lies in `scratch` is lost with each call."""

    def __init__(self, response, to_receive_bytes: int, window_bits: int, scratch: memoryview) -> None:
        self._response = response
        self._to_receive_bytes = to_receive_bytes
        self._scratch = scratch
        # The inflater takes bytes one by one, which is fast as long as no Python is asked for each.
        self._ring = RingIO(_RING_BYTES)
        self._inflater = deflate.DeflateIO(self._ring, deflate.RAW, window_bits)

    def fill(self, view: memoryview) -> None:
        """Fill the view, no more than a piece."""
        if self._readinto(view) < len(view):
            raise _damaged("end")

    def finish(self) -> None:
        """Check that this was all."""
        last = self._scratch[:1]
        if self._readinto(last) or self._ring.any() or self._response.readinto(last):
            raise _damaged("end")

    def _readinto(self, view: memoryview) -> int:
        if self._to_receive_bytes:
            self._receive()
        try:
            return self._inflater.readinto(view)
        except (EOFError, OSError):  # what has been received does not end, or is no deflate
            raise _damaged("deflate")
        except MemoryError:  # a heap too fragmented for the inflater's window; a whole firmware needs none
            raise _damaged("memory")

    def _receive(self) -> None:
        """Have so much in the ring that the inflater finds what it needs for a piece."""
        ring = self._ring
        while self._to_receive_bytes and _RING_BYTES - ring.any() >= _ROOM_BYTES:
            view = self._scratch[: min(_ROOM_BYTES, self._to_receive_bytes)]
            count = self._response.readinto(view)
            if not count:
                raise RetryableError("patch_cut")
            ring.write(view[:count])
            self._to_receive_bytes -= count


def _damaged(what: str) -> RetryableError:
    return RetryableError("patch_damaged", what)
