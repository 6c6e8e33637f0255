"""Writes Zarr arrays with zarr-python, and sums them with Dask's threads. One JSON request a line, one answer a line."""

import http.client
import json
import platform
import sys
import threading
import time
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor

import dask
import dask.array as da
import numcodecs
import numpy as np
import zarr

dask.config.set(scheduler="threads")
numcodecs.blosc.use_threads = False  # the threads are Dask's

codecs = {"zstd": lambda: numcodecs.Zstd(level=3), "blosc-lz4": lambda: numcodecs.Blosc(cname="lz4", clevel=5, shuffle=1)}


class Objects(MutableMapping):
    """Objects below a prefix of an HTTP server, with one connection for each thread."""

    def __init__(self, host, prefix):
        self.host, self.prefix, self.local = host, prefix, threading.local()

    def __getitem__(self, key):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(self.host)
        self.local.connection.request("GET", f"{self.prefix}/{key}")
        response = self.local.connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise KeyError(key)
        return data

    def __setitem__(self, key, value):
        raise NotImplementedError

    __delitem__ = __iter__ = __len__ = __setitem__


def write(request):
    n, c = request["length"], request["chunk"]
    z = zarr.open(request["path"], mode="w", shape=(n, n), chunks=(c, c), dtype="f8", compressor=codecs[request["codec"]]())
    x = np.linspace(0, 40, n)

    def band(i):  # temperatures with a decimal place: waves, and noise
        noise = np.random.default_rng(i).normal(0, 0.5, (c, n))
        z[i * c : (i + 1) * c] = np.round(280 + 20 * np.sin(x[i * c : (i + 1) * c, None]) + 10 * np.cos(x)[None] + noise, 1)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(band, range(n // c)))
    return {"bytes": z.nbytes_stored}


def handle(request):
    op = request["op"]
    if op == "about":
        return {"text": f"Python {platform.python_version()}, zarr {zarr.__version__}, numcodecs {numcodecs.__version__}, Dask {dask.__version__}"}
    if op == "write":
        return write(request)
    store = request.get("path") or Objects(request["host"], request["prefix"])
    array = da.from_zarr(store, chunks=tuple(request["chunks"]))
    total = array.sum(axis=request["axis"])
    began = time.perf_counter()
    value = total.compute(num_workers=request["workers"])
    return {"seconds": time.perf_counter() - began, "hex": float(np.ravel(value)[0]).hex()}


for line in sys.stdin:
    try:
        reply = handle(json.loads(line))
    except Exception as e:
        reply = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(reply), flush=True)
