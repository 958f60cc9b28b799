"""``python -m embcompat``: the command line."""

from embcompat.cli import main

if __name__ == "__main__":
    main()
