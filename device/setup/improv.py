"""Stub."""


class Improv:
    def __init__(self, portal, address: str) -> None:
        self._portal = portal

    def look(self) -> None:
        pass

    def close(self) -> None:
        pass
