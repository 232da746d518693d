"""`python -m inkwash.train`: an older name of `inkwash train`."""

from functools import partial

from inkwash.__main__ import main as inkwash

main = partial(inkwash, "train")

if __name__ == "__main__":
    main()
