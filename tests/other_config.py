"""What a rank does, but rank 1 reads another seed in config.yaml."""

import os
import sys
from pathlib import Path

from inkwash import rundir
from inkwash.agent import reporting
from inkwash.fit import fit

if __name__ == "__main__":
    here, read = Path(sys.argv[1]), rundir.read_config
    if os.environ["RANK"] == "1":
        rundir.read_config = lambda directory: {**read(directory), "seed": 1}
    with reporting(here):
        fit(here)
