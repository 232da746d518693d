"""Tests find the project's package and its conf/."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ["INKWASH_CONF"] = str(HERE / "conf")
