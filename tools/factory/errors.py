"""Why a thermometer cannot be made."""


class FactoryError(Exception):
    """Something that cannot be made or written as asked for; the text says why and what to do."""
