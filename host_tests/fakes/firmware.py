"""Who gives the agent a firmware in the tests' own process: one reply for all, or ranges that can break off."""

from agent.errors import RetryableError

from tools.proof.reply import Reply

_BROKEN_OFF = RetryableError("body_cut", "the answer broke off")


class Api:
    """Gives one reply for every firmware asked for; `asked` counts."""

    def __init__(self, make_reply):
        self._make_reply = make_reply
        self.asked = 0

    def firmware(self, device, version_id, download):
        self.asked += 1
        return self._make_reply()


class RangeServer:
    """A server that offers ranges of `image` as `etag`; the first answer breaks off after `cut` bytes.
    `starts` is where the ranges asked for begin."""

    def __init__(self, image, etag='"one"', cut=None, ranges=None):
        self.image, self.etag, self.cut = image, etag, cut
        self.starts = []
        self._ranges = ranges or self._range

    def request(self, method, url, data, headers):
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


class PatchServer:
    """A server that offers `image`, and to a device with the release `base` (its entity tag) a `patch` for it, with
    ranges of both. The first answer breaks off after `cut` bytes. `asked` are the answers' kinds and first bytes,
    `given_bytes` counts what was asked for in all."""

    def __init__(self, image, patch, base, cut=None, im="gkp"):
        self.image, self.patch, self.base, self.cut, self.im = image, patch, base, cut, im
        self.etag = '"one"'
        self.bounded = True
        self.asked = []
        self.given_bytes = 0

    def request(self, method, url, data, headers):
        patched = self.patch and "gkp" in headers.get("A-IM", "") and headers.get("If-None-Match") == f'"{self.base}"'
        body = self.patch if patched else self.image
        status, fields = (226, {"im": self.im}) if patched else (200, {})
        start, end = 0, len(body)
        if "Range" in headers and headers["If-Range"] == self.etag:
            first, _, last = headers["Range"][6:].partition("-")
            start, end = int(first), min(int(last) + 1, end) if last else end
            status = 226 if patched else 206
            fields["content-range"] = f"bytes {start}-{end - 1}/{len(body)}"
            if patched:
                fields["im"] = self.im + ", range"
        self.asked.append(("patch" if patched else "whole", start))
        self.given_bytes += end - start
        reply = Reply(
            body[start:end], "application/octet-stream", status, 500, self.bounded, self.bounded, self.cut, _BROKEN_OFF
        )
        self.cut = None
        reply.headers["etag"] = self.etag
        reply.headers.update(fields)
        return reply
