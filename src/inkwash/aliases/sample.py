"""`python -m inkwash.sample`: an older name of `inkwash sample`."""

from functools import partial

from inkwash.__main__ import main as inkwash

main = partial(inkwash, "sample")

if __name__ == "__main__":
    main()
