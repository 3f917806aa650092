"""The least that any updater must do for a JSON string of base64: receive, decode, hash, erase and write.

The answer is known to be nothing but the string: no white space, no escapes.
"""

import hashlib
import socket
from binascii import a2b_base64

import machine
from esp32 import Partition
from target import ADDRESS, DIGEST, REQUEST

slot = Partition("ota_1")
stream = socket.socket()
stream.connect(ADDRESS)
stream.write(REQUEST)
while stream.readline() != b"\r\n":
    pass
text = bytearray(4096)
view = memoryview(text)
digest = hashlib.sha256()
at = erased = 0
stream.read(1)  # the opening quote
while True:
    count = stream.readinto(text)
    if not count:
        break
    # Whole quanta only at the end as well: there the closing quote is one more than those.
    data = a2b_base64(text if count == 4096 else view[: count // 4 * 4])
    if at + len(data) > erased:
        slot.ioctl(6, erased // 4096)
        erased += 4096
    digest.update(data)
    slot.writeblocks(0, data, at)
    at += len(data)
stream.close()
if digest.digest() != DIGEST:
    raise ValueError("not the image that was published")
slot.set_boot()
machine.reset()
