"""What one writes first: the whole answer, the whole image, then the slot."""

import binascii

import machine
import requests
from esp32 import Partition
from target import HEADERS, URL

image = binascii.a2b_base64(requests.get(URL, headers=HEADERS).json())
slot = Partition(Partition.RUNNING).get_next_update()
for at in range(0, len(image), 4096):
    slot.writeblocks(at // 4096, image[at : at + 4096] + b"\xff" * (at + 4096 - len(image)))
slot.set_boot()
machine.reset()
