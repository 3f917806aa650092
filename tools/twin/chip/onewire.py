"""`onewire` on the virtual chip: a bus that `ds18x20` knows how to read."""


class OneWireError(Exception):
    pass


class OneWire:
    def __init__(self, pin):
        self.pin = pin
