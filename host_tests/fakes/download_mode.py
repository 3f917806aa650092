"""An ESP32 in download mode at a TCP port: the ROM's serial protocol (Espressif, "Serial Protocol"), and the flash
stub's after it has been loaded. esptool reaches it as socket://127.0.0.1:port."""

import contextlib
import hashlib
import socket
import struct
import threading
import zlib

SYNC, READ_REG, WRITE_REG, SECURITY_INFO = 0x08, 0x0A, 0x09, 0x14
MEM_BEGIN, MEM_END, MEM_DATA = 0x05, 0x06, 0x07
ATTACH, SET_PARAMS, CHANGE_BAUD, MD5 = 0x0D, 0x0B, 0x0F, 0x13
DEFL_BEGIN, DEFL_DATA, DEFL_END, ERASE_FLASH = 0x10, 0x11, 0x12, 0xD0

_DETECT = 0x40001000
MAGIC = {"ESP32": 0x00F01D83, "ESP32-S2": 0x000007C6}
_EFUSE = 0x3FF5A000
_SPI = 0x3FF42000
_SPI_CMD, _SPI_USR2, _SPI_W0 = _SPI, _SPI + 0x24, _SPI + 0x80
_READ_ID = 0x9F
_UNKNOWN = 0x05
_ROM_VALUE = 0x20120707  # by this esptool tells the ROM's answer to SYNC from the stub's


class DownloadMode:
    """The board. `flash` is what lies on it; `asked` lists the commands. `break_at` is how many blocks of data it takes
    before its plug is pulled; with `is_worn`, one byte of its flash does not take what is written."""

    def __init__(self, mac="24:6f:28:00:00:01", flash_mib=4, chip="ESP32", break_at=None, is_worn=False) -> None:
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self.flash = bytearray(b"\x00" * (flash_mib << 20))
        self.asked: list[int] = []
        self._flash_id = (0x13 + flash_mib.bit_length()) << 16 | 0x40C8
        self._magic = MAGIC[chip]
        self._break_at = break_at
        self._is_worn = is_worn
        self._blocks = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> "DownloadMode":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._talk(connection)

    def _talk(self, connection) -> None:
        self._stub, self._registers = False, {}
        pending = b""
        while data := connection.recv(65536):
            *frames, pending = (pending + data).split(b"\xc0")
            for frame in frames:
                if frame:
                    self._answer(connection, frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb"))

    def _answer(self, connection, request: bytes) -> None:
        direction, command, size, _ = struct.unpack_from("<BBHI", request)
        body = request[8 : 8 + size]
        if direction != 0:
            return
        self.asked.append(command)
        value, result, error = 0 if self._stub else _ROM_VALUE, b"", 0
        if command == READ_REG:
            value = self._read(struct.unpack("<I", body)[0])
        elif command == WRITE_REG:
            self._write(*struct.unpack_from("<II", body))
        elif command == DEFL_BEGIN:
            _, _, _, self._at = struct.unpack_from("<IIII", body)
            self._stream = zlib.decompressobj()
        elif command == DEFL_DATA:
            self._blocks += 1
            if self._blocks == self._break_at:
                self._listener.close()
                connection.shutdown(socket.SHUT_RDWR)
                raise OSError
            self._program(self._stream.decompress(body[16:]))
        elif command == ERASE_FLASH:
            self.flash[:] = b"\xff" * len(self.flash)
        elif command == MD5:
            start, count = struct.unpack_from("<II", body)
            result = hashlib.md5(self.flash[start : start + count]).digest()
        elif command not in (SYNC, MEM_BEGIN, MEM_DATA, MEM_END, ATTACH, SET_PARAMS, CHANGE_BAUD, DEFL_END):
            error = _UNKNOWN
        status = bytes((1, error) if error else (0, 0)) + (b"" if self._stub else b"\0\0")
        for _ in range(8 if command == SYNC else 1):
            head = struct.pack("<BBHI", 1, command, len(result) + len(status), value)
            self._send(connection, head + result + status)
        if command == MEM_END:
            self._stub = True
            self._send(connection, b"OHAI")

    def _send(self, connection, packet: bytes) -> None:
        connection.sendall(b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0")

    def _read(self, address: int) -> int:
        if address == _DETECT:
            return self._magic
        if address == _EFUSE + 4:
            return int.from_bytes(self.mac[2:], "big")
        if address == _EFUSE + 8:
            return int.from_bytes(self.mac[:2], "big")
        return self._registers.get(address, 0)

    def _write(self, address: int, value: int) -> None:
        self._registers[address] = value
        if address == _SPI_CMD:
            command = self._registers.get(_SPI_USR2, 0) & 0xFF
            self._registers[_SPI_W0] = self._flash_id if command == _READ_ID else 0
            self._registers[_SPI_CMD] = 0  # done

    def _program(self, data: bytes) -> None:
        self.flash[self._at : self._at + len(data)] = data
        self._at += len(data)
        if self._is_worn:
            self.flash[0x10000] = 0
