"""The network that a thermometer opens until its owner has given it one of his own.

Label and board must come to the same name, so there is one rule: the product's name, a hyphen, and the last six
characters of the serial number. The thermometer THERM00000000000001 of the product "Thermometer" opens
`Thermometer-000001`, with WPA2 and the password on its label.
"""

from tools.factory.errors import FactoryError

_SERIAL_END_CHARS = 6
_NAME_MAX_BYTES = 32
_PRODUCT_MAX_BYTES = _NAME_MAX_BYTES - 1 - _SERIAL_END_CHARS
_ESCAPED = '\\;,:"'


def network_name(product: str, serial: str) -> str:
    """The name of the network that the board with this serial number opens."""
    return f"{product}-{serial[-_SERIAL_END_CHARS:]}"


def check_product(product: str) -> None:
    """FactoryError when no network can be named after this product, the setting of the same name: a network's name has
    32 bytes, and a release's header names the product in ASCII."""
    if not 1 <= len(product) <= _PRODUCT_MAX_BYTES or not (product.isascii() and product.isprintable()):
        raise FactoryError(
            f"{product!r} names no setup network: product has 1 to {_PRODUCT_MAX_BYTES} ASCII characters, none of "
            "them a control character"
        )


def join_code(name: str, password: str) -> str:
    """What a QR code holds that lets a phone join the network."""
    return f"WIFI:S:{_escape(name)};T:WPA;P:{_escape(password)};;"


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in _ESCAPED else char for char in text)
