"""`make wifi`: give a board in its setup a WiFi network, over the cable. Its console speaks Improv then."""

import argparse
import getpass
import os
import sys

from tools.arguments import failed, free_text, shown
from tools.deploy.port import BoardError, open_serial, port_name, resolve
from tools.owner.improv import Improv

PASSWORD_VARIABLE = "WIFI_PASSWORD"
_READ_S = 0.1
_STRONG_DBM, _GOOD_DBM = -60, -75


def main(arguments: list[str] | None = None) -> int:
    """Ask for a network and its password until the board has joined one. 0: it has, 1: it has not, 2: wrong arguments;
    the last two with one line on standard error."""
    options = _parse(arguments)
    try:
        with open_serial(resolve(options.port), _READ_S) as port:
            return _set_up(Improv(port), options.ssid)
    except (BoardError, OSError) as error:
        return failed("wifi", error, 1)
    except (KeyboardInterrupt, EOFError):
        return failed("wifi", "interrupted; the board waits for a network still", 1)


def _set_up(board: Improv, ssid: str | None) -> int:
    product, release, _, name = (*board.device(), "", "", "", "")[:4]
    print(f"{shown(name)}: {shown(product)}{f', release {shown(release)}' if release else ''}")
    while True:
        chosen = ssid or _choose(board)
        password = os.environ.get(PASSWORD_VARIABLE)
        typed = password is None
        if typed:
            password = getpass.getpass(f"password of {shown(chosen)} (not shown; empty: an open network): ")
        print(f"joining {shown(chosen)}, up to a minute", flush=True)
        if board.join(chosen, password or ""):
            print("joined, and kept: the board goes on by itself")
            return 0
        problem = f"{shown(chosen)} was not joined: wrong password, out of reach, or its network does not lead on"
        if not typed or not sys.stdin.isatty():
            return failed("wifi", f"{problem} (make console says which)", 1)
        print(problem)


def _choose(board: Improv) -> str:
    """Ask for one of the networks that the board sees, or the name of another."""
    networks = board.networks()
    for number, network in enumerate(networks, 1):
        strength = network.signal_dbm
        signal = "strong" if strength > _STRONG_DBM else "good" if strength > _GOOD_DBM else "weak"
        print(f"{number:4}  {shown(network.name)} ({signal}, {'open' if network.is_open else 'locked'})")
    while True:
        answer = input("network, by its number or its name: ").strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(networks):
            return networks[int(answer) - 1].name
        if answer:
            return answer


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(failed("wifi", message, 2))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="thermometer wifi", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--port", required=True, type=port_name, help="/dev/ttyUSB0, COM3, socket://host:port, auto ..."
    )
    parser.add_argument(
        "--ssid", type=free_text, help="the network's name (default: asked for, with the networks that the board sees)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
