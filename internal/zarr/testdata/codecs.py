#!/usr/bin/env python3
"""Write codecs.json.gz: bytes as numcodecs encodes them (Debian: python3-numcodecs)."""
import base64
import gzip
import json

import numcodecs
import numpy as np

rng = np.random.default_rng(1)
cases = []


def add(name, data, encoded):
    text = [base64.b64encode(bytes(v)).decode() for v in (data, encoded)]
    cases.append({"name": name, "data": text[0], "encoded": text[1]})


def inputs():
    for dtype in ("u1", "i2", "f4", "f8", "V3", "V16"):
        size = np.dtype(dtype).itemsize
        for n in (0, 1, 7, 8, 300, 20000):
            yield f"{dtype} {n} smooth", (np.arange(n * size) // (3 * size) % 50).astype("u1").view(dtype), 0
            if n <= 300:
                yield f"{dtype} {n} random", rng.integers(0, 255, n * size, dtype="u1").view(dtype), 0
            else:
                yield f"{dtype} {n} blocks", (np.arange(n * size) % (7 * size) * 5).astype("u1").view(dtype), 4096


for name, x, block in inputs():
    for cname in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
        for shuffle in (0, 1, 2):
            codec = numcodecs.Blosc(cname, 9, shuffle, block)
            add(f"blosc {cname} {shuffle} {name}", x.tobytes(), codec.encode(x))
    for codec in (numcodecs.Zlib(), numcodecs.GZip(), numcodecs.Zstd(), numcodecs.LZ4()):
        if len(x):
            add(f"{codec.codec_id} {name}", x.tobytes(), codec.encode(x))

print(len(cases), "cases")
with open("codecs.json.gz", "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
    z.write(json.dumps(cases).encode())
