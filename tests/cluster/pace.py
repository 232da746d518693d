"""Steps that take long enough to be interrupted."""

import time

import lightning as L


class Pace(L.Callback):
    def __init__(self, seconds: float):
        self.seconds = seconds

    def on_train_batch_end(self, *args):
        time.sleep(self.seconds)
