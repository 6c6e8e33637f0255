#!/usr/bin/env python3
"""Write .npz files: stored, deflated, and deflated to a stream that cannot be positioned, as to an object store."""
import io

import numpy as np


class Stream(io.RawIOBase):
    def __init__(self, name):
        self.file = open(name, "wb")

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


arrays = {"days": np.arange(365), "temperature": np.round(np.random.default_rng(1).normal(280, 9, (40, 50)), 1).astype("f4")}
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)
np.savez_compressed(Stream("streamed.npz"), **arrays)
