"""Writes filters.json.gz: statistics of some of the elements of arrays, with weights and initial values, by NumPy and by
exact arithmetic.

The elements that "where" and "missing" choose are NumPy's. Their statistics are computed as in reductions.py, and must be
close to numpy.sum(where=...) and the like, and to numpy.average. The statistics of no elements that have no value are null.

    python3 filters.py   # needs numpy; the same bytes for the same version
"""

import base64
import gzip
import io
import itertools
import json
import math
import operator

import numpy as np
from reductions import exact, rng, rounded, text, values
from fractions import Fraction

OPS = ["sum", "mean", "var", "std", "min", "max", "argmin", "argmax", "count", "any", "all", "nansum", "nanmean", "nanvar", "nanmin", "nanmax", "norm"]
COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne}
LITERALS = {
    "b": [0, 1, 0.5, 2, True],
    "i": [0, 1, -1, 2.5, -0.5, 127, -128, 128, 300, 1e30, -(2**63), 2**63 - 1, 2**63, -(10**25)],
    "u": [0, 1, -1, 2.5, 255, 256, 1e30, 2**64 - 1, 2**64, 1.0],
    "f": [0, 0.0, -0.0, 1.5, 0.1, 1e9, -1e300, 1e300, 70000, "NaN", "Infinity", "-Infinity", 1],
}


def number(v):
    return float(v.replace("Infinity", "inf")) if isinstance(v, str) else v


def compared(x, op, v):
    """x op v as NumPy has it, except that integers are compared exactly and a value beyond a float dtype is infinite."""
    v = number(v)
    with np.errstate(all="ignore"):
        if x.dtype.kind == "f":
            return COMPARE[op](x, x.dtype.type(v))
        return np.array([COMPARE[op](e.item(), v) for e in x.ravel()], dtype=bool).reshape(x.shape)


def choice(x):
    """Fields that choose elements, and which they choose."""
    literals = LITERALS[x.dtype.kind]
    literal = lambda: literals[rng.integers(len(literals))]
    spec, used = {}, np.ones(x.shape, dtype=bool)
    kind = rng.integers(0, 5)
    if kind in (0, 3):
        op, v = list(COMPARE)[rng.integers(6)], literal()
        spec["where"] = {"op": op, "value": v}
        used &= compared(x, op, v)
    if kind == 1:
        skip = rng.integers(0, x.ndim + 1)
        shape = x.shape[skip:]
        mask = np.asarray(rng.random(shape) < rng.choice([0.1, 0.5, 0.9, 1]), dtype=bool)
        spec["mask"] = mask
        used &= mask
    if kind in (2, 3):
        list_ = [literal() for _ in range(rng.integers(1, 4))]
        spec["missing"] = list_ if len(list_) > 1 else list_[0]
        for v in list_:
            used &= ~(np.isnan(x) if v == "NaN" and x.dtype.kind == "f" else compared(x, "==", v))
    if kind == 4:
        bounds = {}
        for name, op in (("valid_min", "<"), ("valid_max", ">")):
            v = literal()
            if rng.integers(0, 3) and v != "NaN":
                bounds[name] = v
                used &= ~compared(x, op, v)
        spec["missing"] = bounds or 5
        if not bounds:
            used &= ~compared(x, "==", 5)
    return spec, used


def groups(x, axis):
    axes = tuple(range(x.ndim)) if axis is None else (axis,)
    kept = [a for a in range(x.ndim) if a not in axes]
    moved = np.transpose(x, kept + list(axes))
    n = int(np.prod([x.shape[a] for a in axes], dtype=int))
    return moved.reshape([int(np.prod([x.shape[a] for a in kept], dtype=int)), n])


def extreme(op, x, at):
    """The extreme of values x at positions, and where it is; None of none."""
    nans = [i for i, v in enumerate(x) if v != v]
    if op.startswith("nan"):
        if x and len(nans) == len(x):
            return math.nan
        x, op = [v for v in x if v == v], op[3:]
    elif nans:
        return at[nans[0]] if op.startswith("arg") else math.nan
    if not x:
        return None
    best = min(x) if op.endswith("min") else max(x)
    return at[x.index(best)] if op.startswith("arg") else best


def statistic(op, x, at, w, name, ddof, initial):
    if op in ("min", "max", "nanmin", "nanmax", "argmin", "argmax"):
        if initial is not None:
            if op.startswith("nan") and all(v != v for v in x):
                x = []
            x, at = [initial] + x, [0] + at
        return extreme(op, x, at)
    if op == "count":
        return sum(1 for v in x if v != 0)
    if op in ("any", "all"):
        return (any if op == "any" else all)(v != 0 for v in x)
    if w is not None:
        pairs = [(v, u) for v, u in zip(x, w) if v == v or not op.startswith("nan")]
        if any(isinstance(f, float) and not math.isfinite(f) for p in pairs for f in p):
            with np.errstate(all="ignore"):
                total = float(np.sum([np.float64(v) * np.float64(u) for v, u in pairs]))
                if op.endswith("mean"):
                    return float(np.float64(total) / np.float64(sum(u for _, u in pairs)))
            return total if initial is None else total + initial
        total = sum((Fraction(v) * Fraction(u) for v, u in pairs), Fraction(0 if initial is None else initial))
        if op.endswith("mean"):
            divisor = sum((Fraction(u) for _, u in pairs), Fraction(0))
            if divisor == 0:
                return math.nan
            total /= divisor
        return int(total) if name not in ("float16", "float32", "float64") else rounded(total.numerator, total.denominator, False, name)
    if initial is not None:
        x = x + [initial]
    return exact(op, x, name, ddof)


def check(op, x, used, w, axis, keepdims, ddof, mine, initial, name):
    """NumPy's own result is close."""
    plain = {"sum": np.sum, "mean": np.mean, "var": np.var, "std": np.std, "any": np.any, "all": np.all, "min": np.min, "max": np.max}
    with np.errstate(all="ignore"):
        if w is not None:
            if op != "mean" or not used.all() or x.dtype.kind != "f":
                return
            try:
                theirs = np.average(x.astype(np.float64), axis=axis, weights=w)
            except ZeroDivisionError:
                return
        elif op in plain:
            options = {"ddof": ddof} if op in ("var", "std") else {}
            if op in ("sum", "min", "max") and initial is not None:
                options["initial"] = initial
            elif op in ("min", "max"):
                return
            theirs = plain[op](x.astype(np.float64) if op in ("mean", "var", "std") else x, axis=axis, where=used, **options)
        else:
            return
    for a, b in zip(mine, np.asarray(theirs).ravel()):
        if isinstance(a, bool) or op in ("min", "max"):
            assert a == b or a != a and b != b, (op, a, b)
        elif isinstance(a, int) and not -(2**63) <= a < 2**63:
            continue  # NumPy's sum wraps
        elif math.isfinite(float(a)) and math.isfinite(float(b)):
            scale = max(1, float(np.max(np.abs(x.astype(float)[np.isfinite(x)]), initial=0))) ** (2 if op == "var" else 1)
            assert abs(a - float(b)) <= {"float16": 1, "float32": 1e-3}.get(name, 1e-9) * scale * max(x.size, 1), (op, a, b)


def case(x):
    axis = [None, *range(x.ndim)][rng.integers(0, x.ndim + 1)]
    keepdims, ddof = bool(rng.integers(0, 2)), int(rng.integers(0, 3))
    spec, used = choice(x) if rng.integers(0, 6) else ({}, np.ones(x.shape, dtype=bool))
    w, ops = None, OPS
    if rng.integers(0, 3) == 0:
        ops = ["sum", "mean", "nansum", "nanmean"]
        skip = rng.integers(0, x.ndim + 1)
        dtype = rng.choice(["float64", "float32", "int64", "uint8", "bool", "float16", "int16"])
        w = np.asarray(values(dtype, int(np.prod(x.shape[skip:], dtype=int)), rng.choice(["any", "small"]))).reshape(x.shape[skip:])
        spec["weights"] = w
    initial = {}
    if rng.integers(0, 3) == 0:
        for op in ("sum", "nansum", "min", "max", "nanmin", "nanmax"):
            if op in ops and rng.integers(0, 2):
                initial[op] = [0, 1, 3, True][rng.integers(4)] if x.dtype.kind != "b" else 1
        if initial:
            spec["initial"] = {k: int(v) for k, v in initial.items()}
    wide = np.broadcast_to(w, x.shape) if w is not None else None
    want, dtypes = {}, {}
    for op in ops:
        if w is not None:
            total = str(np.sum(np.ones(1, x.dtype) * np.ones(1, w.dtype)).dtype)
            name = total
            if op.endswith("mean") and x.dtype.kind != "f":
                name = "float64"
        else:
            name = exact_dtype(op, x.dtype)
        start = initial.get(op)
        if start is not None:
            start = float(start) if x.dtype.kind == "f" or name.startswith("f") else bool(start) if name == "bool" else int(start)
        rows, chosen = groups(x, axis), groups(used, axis)
        weights = groups(wide, axis) if w is not None else None
        mine = []
        for i in range(rows.shape[0]):
            at = [int(k) for k in np.flatnonzero(chosen[i])]
            mine.append(statistic(op, [rows[i][k].item() for k in at], at, [weights[i][k].item() for k in at] if w is not None else None, name, ddof, start))
        dtypes[op] = name
        if any(v is None for v in mine):
            continue
        check(op, x, used, wide, axis, keepdims, ddof, mine, start, name)
        want[op] = [text(v) for v in mine]
    for field in ("mask", "weights"):
        if field in spec:
            file = io.BytesIO()
            np.save(file, np.asarray(spec[field], order="F" if x.flags.f_contiguous and not x.flags.c_contiguous else "C"))
            if spec[field].ndim != x.ndim and not x.flags.c_contiguous:
                return None
            spec[field] = base64.b64encode(file.getvalue()).decode()
    companions = {f: spec.pop(f) for f in ("mask", "weights") if f in spec}
    if "mask" in companions:
        companions["where"] = companions.pop("mask")
    return {
        "axis": axis, "keepdims": keepdims, "ddof": ddof, "shape": np.sum(x, axis=axis, keepdims=keepdims).shape,
        "want": want, "dtypes": dtypes, "fields": spec, "companions": companions,
    }


def exact_dtype(op, t):
    if op in ("min", "max", "nanmin", "nanmax"):
        return str(t)
    if op in ("argmin", "argmax", "count"):
        return "int64"
    if op in ("any", "all"):
        return "bool"
    if op in ("sum", "nansum"):
        return str(np.sum(np.zeros(1, t)).dtype)
    return str(t) if t.kind == "f" else "float64"


SHAPES = [(), (1,), (9,), (0,), (3, 4), (0, 3), (6, 2), (2, 3, 3), (5, 1, 2)]


def main():
    out = []
    dtypes = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
    for dtype, shape in itertools.product(dtypes, SHAPES):
        for kind in ["any", "small", "edge"] + (["nan", "wide"] if dtype.startswith("f") else []):
            x = np.asarray(values(dtype, int(np.prod(shape, dtype=int)), kind).reshape(shape), order=rng.choice(["C", "F"]))
            file = io.BytesIO()
            np.save(file, x)
            cases = [c for c in (case(x) for _ in range(4)) if c]
            out.append({"npy": base64.b64encode(file.getvalue()).decode(), "cases": cases})
    data = json.dumps(out, separators=(",", ":")).encode()
    with open("filters.json.gz", "wb") as f:
        f.write(gzip.compress(data, 9, mtime=0))
    print(len(out), "arrays,", sum(len(a["cases"]) for a in out), "cases,", sum(len(c["want"]) for a in out for c in a["cases"]), "statistics")


if __name__ == "__main__":
    main()
