"""The owner's first five minutes: the board's own network, the page it shows a phone, and the cable's way in.

How a try went has one of these names, or the code of the error that ended it.
"""

TRYING = "trying"
JOINED = "joined"
NO_SERVER = "no_server"  # joined, but the server does not answer
NOT_REGISTERED = "not_registered"  # joined, but the server does not know the serial number
