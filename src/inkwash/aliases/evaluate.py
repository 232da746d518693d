"""`python -m inkwash.evaluate`: an older name of `inkwash evaluate`."""

from functools import partial

from inkwash.__main__ import main as inkwash

main = partial(inkwash, "evaluate")

if __name__ == "__main__":
    main()
