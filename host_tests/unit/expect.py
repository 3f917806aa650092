"""What a test expects, said in one line."""


def raises(family, code, function, *args):
    """Call; the error must be of this family and code. Gives its sentence."""
    try:
        function(*args)
    except family as error:
        assert error.code == code, (error.code, str(error))
        return str(error)
    raise AssertionError("no " + code)
