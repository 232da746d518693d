"""`python -m inkwash.sync`: an older name of `inkwash sync`."""

from functools import partial

from inkwash.__main__ import main as inkwash

main = partial(inkwash, "sync")

if __name__ == "__main__":
    main()
