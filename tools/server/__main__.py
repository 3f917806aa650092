import sys

# The processes of `--workers` load this file too: they need nothing of the command line.
if __name__ == "__main__":
    from .cli import main

    sys.exit(main())
