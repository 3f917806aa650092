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
        count = 0
        while count < len(view) and not self._inflater.eof:
            data = self._inflater.unconsumed_tail or self._stream.read(1)
            try:
                piece = self._inflater.decompress(data, len(view) - count)
            except zlib.error:
                raise OSError(_EINVAL) from None
            if not data and not piece:
                raise EOFError
            view[count : count + len(piece)] = piece
            count += len(piece)
        return count
