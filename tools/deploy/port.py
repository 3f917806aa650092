"""Which device a PORT means, and in a sentence why it cannot be opened."""

import argparse
import errno
import re

import serial
from serial.tools import list_ports

_SHORTCUTS = {"a": "/dev/ttyACM", "u": "/dev/ttyUSB", "c": "COM"}


class BoardError(Exception):
    """What went wrong with the board or the way to it; the text says what to do."""


def port_name(text: str) -> str:
    """What may be a PORT, for argparse."""
    if not text or any(char.isspace() for char in text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no port like /dev/ttyUSB0, COM3, socket://host:port or auto (PORT=...)"
        )
    return text


def resolve(port: str) -> str:
    """The device or URL behind what mpremote takes: "auto", "id:…", "port:…", "u0", a device or a URL."""
    if port == "auto":
        for found in sorted(list_ports.comports()):
            if found.vid is not None:
                return found.device
        raise BoardError("no board found on USB: connect one, or name its port (PORT=...)")
    if port.startswith("id:"):
        for found in list_ports.comports():
            if found.serial_number == port.removeprefix("id:"):
                return found.device
        raise BoardError(f"no board with the USB serial number {port.removeprefix('id:')} found{_others()}")
    if re.fullmatch("[auc][0-3]", port):
        return _SHORTCUTS[port[0]] + port[1]
    return port.removeprefix("port:")


def open_serial(device: str, timeout_s: float):
    """The opened port; BoardError when it cannot be had."""
    try:
        return serial.serial_for_url(device, 115200, timeout=timeout_s, exclusive=True)
    except (OSError, ValueError) as error:
        raise BoardError(refusal(device, error)) from None


def refusal(device: str, error: Exception) -> str:
    """Why the port cannot be opened, and what to do about it."""
    text = str(error)
    number = getattr(error, "errno", None)
    if "protocol" in text and isinstance(error, ValueError):
        return (
            f"{device}: no such kind of port; PORT is like /dev/ttyUSB0, COM3, socket://host:port, rfc2217://host:port"
        )
    if number == errno.EACCES or "PermissionError" in text:
        if device.startswith("COM"):
            return f"{device} is in use by another program: close it there (a console, an IDE), then try again"
        return (
            f"no permission to open {device}: join its group (often: sudo usermod -aG dialout $USER) and log in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        return f"{device} is in use by another program: close it there (a console, an IDE), then try again"
    if number == errno.ENOENT or "FileNotFoundError" in text:
        return f"there is no port {device}: is the board connected?{_others()}"
    if "Inappropriate ioctl" in text:
        return f"{device} is no serial port{_others()}"
    if "://" in device:
        return f"{device} cannot be reached ({_last(text)}): is the board's console served there?"
    return f"{device} cannot be opened as a serial port ({_last(text)}){_others()}"


def _last(text: str) -> str:
    """The end of pyserial's sentence, where the cause is."""
    return text.rpartition("] ")[2].rpartition(": ")[2].strip("'\")")


def _others() -> str:
    found = [port.device for port in sorted(list_ports.comports()) if port.vid is not None]
    return f" Boards on USB: {', '.join(found)}" if found else ""
