"""A GadgetKeeper server: the calls of a device and of its vendor, over HTTP, on SQLite or PostgreSQL."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Vendor, VendorError
    from .serving import Running, ServingError, running

__all__ = ["Running", "ServingError", "Vendor", "VendorError", "running"]


def __getattr__(name: str) -> Any:
    """The package's names, loaded when they are used: a serving process has no need of the client's libraries."""
    from importlib import import_module

    if name in ("Vendor", "VendorError"):
        return getattr(import_module(".client", __name__), name)
    if name in __all__:
        return getattr(import_module(".serving", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
