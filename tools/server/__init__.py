"""A GadgetKeeper server: the calls of a device and of its vendor, over HTTP, on SQLite."""

from .client import Vendor, VendorError
from .serving import Running, ServingError, running

__all__ = ["Running", "ServingError", "Vendor", "VendorError", "running"]
