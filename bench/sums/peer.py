"""The Python contenders: np.sum, math.fsum and Dask's threads.

It reads requests, one JSON object a line, and answers each with one line. Only the sum is timed: not the imports, not
the reading of resident arrays, not the building of Dask's graph.
"""

import json
import math
import platform
import sys
import time
from fractions import Fraction

import dask
import dask.array as da
import numpy as np

dask.config.set(scheduler="threads")

arrays = {}  # resident, by path


def resident(path):
    if path not in arrays:
        arrays[path] = np.load(path)
    return arrays[path]


def chunks_of(request):
    """Dask wants tuples, -1 and "auto" as they are."""
    def tuples(v):
        return tuple(map(tuples, v)) if isinstance(v, list) else v

    return tuples(request.get("chunks", "auto"))


def timed(run, times):
    began = time.perf_counter()
    for _ in range(times):
        value = run()
    return (time.perf_counter() - began) / times, value


def dask_sum(request):
    """A closure that computes, and nothing else."""
    source = request["source"]
    if source == "ones":
        array = da.ones(tuple(request["shape"]), chunks=chunks_of(request))
    elif source == "file":  # mapped anew: a map that an earlier sum has touched is not what a program finds that starts
        array = da.from_array(np.load(request["path"], mmap_mode="r"), chunks=chunks_of(request))
    else:
        array = da.from_array(resident(request["path"]), chunks=chunks_of(request))
    total = array.sum(axis=request.get("axis"))
    workers = request.get("workers", 0)
    options = {"num_workers": workers} if workers else {}
    return lambda: total.compute(**options)


def handle(request):
    op, times = request["op"], request.get("times", 1)
    if op == "about":
        return {"text": f"Python {platform.python_version()}, NumPy {np.__version__}, Dask {dask.__version__}"}
    if op == "load":
        resident(request["path"])
        return {}
    if op == "drop":
        arrays.clear()
        return {}
    if op == "numpy":
        x = resident(request["path"])
        seconds, value = timed(lambda: np.sum(x), times)
    elif op == "fsum":
        x = resident(request["path"]).reshape(-1)
        seconds, value = timed(lambda: math.fsum(x), times)
    elif op == "dask":
        seconds, value = timed(dask_sum(request), times)
    elif op == "dask statistics":
        x = da.from_array(np.load(request["path"], mmap_mode="r"), chunks=chunks_of(request))
        axis = request.get("axis")
        five = [f(axis=axis) for f in (x.sum, x.mean, x.var, x.min, x.max)]
        seconds, value = timed(lambda: dask.compute(*five)[0], times)
    elif op == "variances":
        x = np.load(request["path"])
        values = [Fraction(v) for v in x.ravel().tolist()]
        exact = sum(v * v for v in values) / len(values) - (sum(values) / len(values)) ** 2
        found = {"numpy": float(x.var()), "dask": float(da.from_array(x, chunks=(100, 100)).var().compute()), "exact": float(exact)}
        return {"text": json.dumps({k: repr(v) for k, v in found.items()})}
    elif op == "columns":
        x = np.full(tuple(request["shape"]), np.float32(request["fill"]))
        seconds, value = timed(lambda: x.sum(axis=0)[0], times)
    else:
        raise ValueError(op)
    return {"seconds": seconds, "hex": float(np.ravel(value)[0]).hex()}


for line in sys.stdin:
    try:
        reply = handle(json.loads(line))
    except Exception as e:
        reply = {"error": f"{type(e).__name__}: {e}"}
    print(json.dumps(reply), flush=True)
