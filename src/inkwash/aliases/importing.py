"""`python -m inkwash.importing`: an older name of `inkwash import`."""

from functools import partial

from inkwash.__main__ import main as inkwash

main = partial(inkwash, "import")

if __name__ == "__main__":
    main()
