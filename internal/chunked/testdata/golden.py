"""Writes chunks.json and sources.json beside itself: the expected results of the tests, computed by Dask and NumPy.

Run: python3 golden.py   (needs numpy; without dask it writes sources.json only)
"""
import json, pathlib, random
import numpy as np

try:
    from dask.array.core import normalize_chunks
except ImportError:
    normalize_chunks = None

random.seed(20)
here = pathlib.Path(__file__).parent


def tuples(v):
    return tuple(tuples(x) for x in v) if isinstance(v, list) else v


cases = []


def chunks(shape, dtype, form):
    if normalize_chunks is None:
        return
    py = {int(k): tuples(v) for k, v in form.items()} if isinstance(form, dict) else tuples(form)
    try:
        want = [list(c) for c in normalize_chunks(py, shape=tuple(shape), dtype=dtype)]
    except Exception:
        want = None
    if want is None or sum(map(len, want)) < 3000:
        cases.append({"shape": shape, "dtype": dtype, "chunks": form, "want": want})


for shape in [], [0], [1], [7], [0, 0], [5, 0], [10, 10], [3, 4, 5], [1000, 1000], [30000, 40000], [10**9], [17, 10**8], [300, 301, 302, 303]:
    for dtype in "float64", "float32", "int8":
        for form in 1000000, 10, 3, -1, "auto", "16MiB", "128 MB", "1kiB", "5.4 kB", "100000000", "1GiB", [], {}:
            if form == [] and shape and any(shape):
                continue
            chunks(shape, dtype, form)
for _ in range(150):
    shape = [random.choice([1, 2, 5, 10, 64, 1000, 12345, 10**6]) for _ in range(random.randint(1, 4))]
    size = random.choice(["16MiB", "1 MB", "100kB", "auto"])

    def axis(n):
        kind = random.randrange(5)
        if kind == 0:
            return random.randint(max(1, n // 50), 2 * n)
        if kind == 1:
            return -1
        if kind == 2:
            a = random.randint(0, n)
            return [a, n - a]
        return size

    form = [axis(n) for n in shape]
    if random.random() < 0.2:
        form = {str(i): f for i, f in enumerate(form) if random.random() < 0.6}
    chunks(shape, random.choice(["float64", "float16", "uint32", "bool"]), form)
for form in [5, 5], [4, 3, 3], [10], [0, 10], [5, 4], [[5, 5]], [[5, 5], [5, 5]], [5, 5, 5], [[]]:
    chunks([10], "float64", form)
if cases:
    (here / "chunks.json").write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


np.seterr(all="ignore")  # overflows are part of the cases


def bits(a):
    a = np.ascontiguousarray(a)
    return [format(int(v), "x") for v in a.reshape(-1).view("u%d" % a.itemsize)]


sources = []


def source(description, array):
    sources.append({"array": description, "shape": list(array.shape), "dtype": array.dtype.name, "bits": bits(array)})


for dtype in "float64", "float32", "float16":
    for start, stop, step in (0, 10, 1), (0.1, 2, 0.1), (5, -5, -0.7), (1e-3, 1, 0.013), (0.5, 50.5, 3), (1, 0, 1):
        source({"source": "arange", "start": start, "stop": stop, "step": step, "dtype": dtype}, np.arange(start, stop, step, dtype=dtype))
    for start, stop, num, endpoint in (0, 1, 50, True), (0, 1, 50, False), (-3.3, 7.7, 11, True), (5, 5, 3, True), (2, 9, 1, True), (2, 9, 0, True), (0, 5e-324, 4, True):
        source({"source": "linspace", "start": start, "stop": stop, "num": num, "endpoint": endpoint, "dtype": dtype},
               np.linspace(start, stop, num, endpoint=endpoint, dtype=dtype))
for dtype in "int64", "int8", "uint16", "int32", "uint64":
    for start, stop, step in (0, 10, 1), (3, 100, 7), (100, 3, -7), (5, 5, 1), (5, 0, 1), (10, 0, -5):
        source({"source": "arange", "start": start, "stop": stop, "step": step, "dtype": dtype}, np.arange(start, stop, step, dtype=dtype))
source({"source": "arange", "stop": 7}, np.arange(7))
source({"source": "arange", "stop": 7.5}, np.arange(7.5))
source({"source": "arange", "start": 2, "stop": 14, "shape": [3, 4]}, np.arange(2, 14).reshape(3, 4))
source({"source": "linspace", "start": 2, "stop": 14}, np.linspace(2, 14))
for values in [], [[], []], 5, 2.5, True, [1, 2], [1, 2.5], [True, False], [[1, 2], [3, 4]], [[[True], [2]]], [2**63, 2**63], [-2**63, 2**63 - 1], [1e300, -0.0]:
    source({"values": values}, np.array(values))
for values, dtype in ([1, 2, 300], "float16"), ([0.1, 1e-8, 65504], "float16"), ([0.1, 16777217], "float32"), ([1, 255], "uint8"), ([-128, 127], "int8"):
    source({"source": "values", "values": values, "dtype": dtype}, np.array(values, dtype=dtype))
for dtype in "bool", "int8", "uint64", "float16", "float32", "float64":
    source({"source": "ones", "shape": [2, 3], "dtype": dtype}, np.ones((2, 3), dtype))
    source({"source": "zeros", "shape": 3, "dtype": dtype}, np.zeros(3, dtype))
def arange(start, stop, step, dtype):
    source({"source": "arange", "start": start, "stop": stop, "step": step, "dtype": dtype}, np.arange(start, stop, step, dtype=dtype))


for dtype in "float64", "float32", "float16":
    for start, stop, step in (
        (7.391883295313484, -40.0, -6.531280224958184),
        (0, 200000, 100000),
        (60000, 90000.0, 5000),
        (-70000, 140000, 70000),
        (0.0, 1e39, 3e38),
        (2**53 + 1, 2**53 + 9, 1),
        (2**53 + 1, 2**53 + 9.0, 1),
        (-(2**24) - 1, -(2**24) + 5, 1),
        (2**63, 2**63 + 4096, 1024),
        (10**30, 10**30 + 3, 1),
        (0, 3, 10**30),
        (1e-320, 2e-320, 1e300),
        (1e-320, 0, 1e300),
        (5e-324, 2e-323, 5e-324),
        (0.1, 0.3, 0.1),
        (1e16, 1e16 + 8, 1.5),
        (-1, 1, 0.3),
        (3, 4, 7.5),
    ):
        arange(start, stop, step, dtype)
    for _ in range(40):
        scale = 10.0 ** random.randint(-8, 5)
        start, step = random.uniform(-9, 9) * scale, random.uniform(-9, 9) * scale
        arange(start, start + random.uniform(1, 7) * step, step, dtype)
    for _ in range(25):
        scale = 10.0 ** random.randint(-12, 6)
        start, stop, num, endpoint = random.uniform(-9, 9) * scale, random.uniform(-9, 9) * scale, random.randint(0, 6), random.random() < 0.6
        source({"source": "linspace", "start": start, "stop": stop, "num": num, "endpoint": endpoint, "dtype": dtype},
               np.linspace(start, stop, num, endpoint=endpoint, dtype=dtype))
    for start, stop, num in (2**53 + 1, 2**53 + 9, 4), (0, 200000, 3), (-1e308, 1e308, 3), (0, 1e-323, 3), (-0.0, -0.0, 2), (2**63, 2**64 - 1, 3):
        source({"source": "linspace", "start": start, "stop": stop, "num": num, "dtype": dtype}, np.linspace(start, stop, num, dtype=dtype))
arange(2**63, 2**63 + 3, 1, "uint64")
for value in 2**63, 2**64 - 1, -(2**63), 2**63 - 1:
    source({"source": "full", "shape": [2], "fill_value": value}, np.full(2, value))
for values, dtype in ([1.0, -2.0], "int64"), ([1e3, 0.0], "uint16"):
    source({"source": "values", "values": values, "dtype": dtype}, np.array(values, dtype=dtype))
source({"source": "full", "shape": 2, "fill_value": 2.0, "dtype": "int8"}, np.full(2, 2.0, dtype="int8"))
for value in 7, 2.5, True:
    source({"source": "full", "shape": [2], "fill_value": value}, np.full(2, value))
(here / "sources.json").write_text("[\n" + ",\n".join(json.dumps(s, separators=(",", ":")) for s in sources) + "\n]\n")
