"""`deflate` for CPython: reading only, with MicroPython's errors.

Like there, no byte is taken from the stream before it is needed.
"""

import zlib

RAW = 1
_EINVAL = 22


class DeflateIO:
    def __init__(self, stream, format, wbits):
        assert format == RAW
        self._stream = stream
        self._inflater = zlib.decompressobj(-wbits)

    def readinto(self, view):
        count = self._inflate(self._inflater.unconsumed_tail, view)
        while count < len(view) and not self._inflater.eof:
            byte = self._stream.read(1)
            if not byte:
                raise EOFError
            count += self._inflate(byte, view[count:])
        return count

    def _inflate(self, data, view):
        try:
            piece = self._inflater.decompress(data, len(view))
        except zlib.error:
            raise OSError(_EINVAL) from None
        view[: len(piece)] = piece
        return len(piece)
