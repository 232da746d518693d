"""`python -m inkwash.export`: an older name of `inkwash export`."""

from functools import partial

from inkwash.__main__ import main as inkwash

main = partial(inkwash, "export")

if __name__ == "__main__":
    main()
