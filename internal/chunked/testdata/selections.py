"""Writes selections.json: parts of numpy.arange arrays by basic indexing.

    python3 selections.py   # needs numpy; the same bytes for the same version
"""

import json

import numpy as np

rng = np.random.default_rng(16)


def entry(n):
    """An entry of "select" for an axis of n elements, and the index that it means."""
    kind = rng.integers(0, 5)
    if kind == 0:
        return None, slice(None)
    if kind == 1 and n > 0:
        i = int(rng.integers(-n, n))
        return i, i
    part = {}
    for name, values in (("start", range(-n - 2, n + 3)), ("stop", range(-n - 2, n + 3)), ("step", [-3, -2, -1, 1, 2, 3, 2**62, -(2**62)])):
        if rng.integers(0, 3):
            part[name] = int(values[rng.integers(len(values))])
    return part, slice(part.get("start"), part.get("stop"), part.get("step"))


cases = []
for _ in range(600):
    shape = [int(rng.integers(0, 7)) if rng.integers(0, 8) == 0 else int(rng.integers(1, 9)) for _ in range(rng.integers(0, 5))]
    entries = [entry(n) for n in shape[: rng.integers(0, len(shape) + 1)]]
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape)[tuple(i for _, i in entries)]
    cases.append({"shape": shape, "select": [e for e, _ in entries], "want": {"shape": list(np.shape(x)), "elements": np.ravel(x).tolist()}})
with open("selections.json", "w") as f:
    f.write(json.dumps(cases, separators=(",", ":")).replace('{"shape"', '\n{"shape"') + "\n")
print(len(cases), "cases")
