"""Choose how many processes read batches ahead of a training, where data.num_workers is auto.

Images in memory, or decoded in a file, need none. Those of a stream are read and decoded while they are used, by as
many readers as keep up with the training: more of them would hold windows of the stream in memory for nothing. The
batches are the same for any number of readers.
"""

import logging
import math
from dataclasses import dataclass

log = logging.getLogger("inkwash")

UNTIMED = 2  # readers of a training whose steps were not timed
FASTER = 1.25  # than the training, are readers together, so that it does not wait when some batches take longer
TIMED = 256  # images, at most


@dataclass(frozen=True)
class Pace:
    """How fast a rank trains, and how many cores it has: they decide how many readers it starts.

    Attributes:
        step_seconds: of an optimizer step; None if it was not timed.
        cores: that this rank may use.
    """

    step_seconds: float | None = None
    cores: int = 1


def readers_for(pace: Pace, image_seconds: float, images: int) -> int:
    """Return the number of readers, at least 1, that read a rank's images of a step in less than the time of a step.

    ceil(1.25 * images * image_seconds / step_seconds), but at most all cores but one. Says so in the log.

    Args:
        image_seconds: of one process, to read and decode an image.
        images: of a step on this rank.
    """
    most = max(1, pace.cores - 1)
    if pace.step_seconds is None:
        return min(UNTIMED, most)
    batch_seconds = images * image_seconds
    wanted = max(1, math.ceil(FASTER * batch_seconds / pace.step_seconds))
    count = min(wanted, most)
    log.info(
        "readers      %d: %d images take one of them %.3g ms, and a step %.3g ms%s",
        count, images, 1000 * batch_seconds, 1000 * pace.step_seconds,
        f"; {wanted} would keep up, of {pace.cores} core{'s' * (pace.cores > 1)}" if wanted > count else "",
    )  # fmt: skip
    return count
