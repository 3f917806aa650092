"""Who gives the agent a firmware in the tests' own process: one reply for all, or ranges that can break off."""

from gadgetkeeper.errors import RetryableError

from tools.proof.reply import Reply

_BROKEN_OFF = RetryableError("body_cut", "the answer broke off")


class Api:
    """Gives one reply for every firmware asked for; `asked` counts."""

    def __init__(self, make_reply):
        self._make_reply = make_reply
        self.asked = 0

    def firmware(self, version_id, start=0, size_bytes=0, etag=None):
        self.asked += 1
        return self._make_reply()


class RangeServer:
    """A session with a server that offers ranges of `image` as `etag`; the first answer breaks off after `cut` bytes.
    `starts` is where the ranges asked for begin."""

    def __init__(self, image, etag='"one"', cut=None, ranges=None):
        self.image, self.etag, self.cut = image, etag, cut
        self.starts = []
        self._ranges = ranges or self._range

    def request(self, method, url, data=None, headers=None):
        wanted = headers.get("Range")
        start = int(wanted[6:-1]) if wanted else 0
        self.starts.append(start)
        reply = Reply(self.image, "application/octet-stream", piece=1000, broken_at=self.cut, error=_BROKEN_OFF)
        self.cut = None
        reply.headers["etag"] = self.etag
        if wanted and headers["If-Range"] == self.etag:
            self._ranges(reply, start)
        return reply

    def _range(self, reply, start):
        reply.status_code = 206
        reply.body = self.image[start:]
        reply.headers["content-length"] = str(len(reply.body))
        reply.headers["content-range"] = f"bytes {start}-{len(self.image) - 1}/{len(self.image)}"
