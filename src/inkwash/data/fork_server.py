"""Imported by multiprocessing's fork server before it forks the first reader, and by nothing else.

Readers then find everything imported. The server leaves the job's process group, as readers do: a signal to the group
must not end it, because readers end with their parent.
"""

import sys

import inkwash.data.module
from inkwash.launch.signals import serve

assert inkwash.data.module
if any("multiprocessing.forkserver" in argument for argument in sys.orig_argv):
    serve(0)
