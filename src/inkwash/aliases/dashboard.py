"""`python -m inkwash.dashboard`: an older name of `inkwash dashboard`."""

from functools import partial

from inkwash.__main__ import main as inkwash

main = partial(inkwash, "dashboard")

if __name__ == "__main__":
    main()
