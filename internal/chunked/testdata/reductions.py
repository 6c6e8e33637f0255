"""Writes reductions.json.gz: arrays, and their statistics along every axis, by NumPy and by exact arithmetic.

Where NumPy's result is exact by definition (extremes, positions, counts, truths) it is NumPy's. Sums, means, variances and
norms are computed with fractions and rounded once; NumPy's must be close to them, and have the same dtype, infinities and
NaNs. Where NumPy raises an error, the statistic is missing.

    python3 reductions.py   # needs numpy; the same bytes for the same version
"""

import base64
import gzip
import io
import itertools
import json
import math
import warnings
from fractions import Fraction

import numpy as np

warnings.simplefilter("ignore")
rng = np.random.default_rng(20261127)

FORMATS = {"float64": (53, -1074, 1024), "float32": (24, -149, 128), "float16": (11, -24, 16)}


def rounded(num, den, root, name):
    """The fraction num/den, or its root, rounded to nearest even in a format."""
    if num == 0:
        return 0.0
    precision, lowest, top = FORMATS[name]
    sign, num = (-1, -num) if num < 0 else (1, num)
    # num/den * 2^-(2*shift or shift) with enough bits, and a last bit for the rest.
    shift = 2 * max(0, 200 - num.bit_length() + den.bit_length()) + 4400
    q, rest = divmod(num << shift, den)
    if root:
        r = math.isqrt(q)
        rest = rest or r * r != q
        q, shift = r, shift // 2
    unit = max(q.bit_length() - precision, lowest + shift)
    mantissa, below = q >> unit, q & ((1 << unit) - 1)
    half = 1 << (unit - 1)
    if below > half or below == half and (rest or mantissa & 1):
        mantissa += 1
    value = Fraction(mantissa) * Fraction(2) ** (unit - shift)
    return sign * (math.inf if value >= Fraction(2) ** top else float(value))


def exact(op, x, dtype, ddof):
    """A statistic that NumPy rounds more than once, of the values x; None if the plain rules of floats decide."""
    if op in ("nansum", "nanmean", "nanvar"):
        x = [v for v in x if v == v]
        if op == "nanvar" and len(x) <= ddof:
            return math.nan  # unlike var
        op = op[3:]
    n = len(x)
    special = [float(v) for v in x if isinstance(v, float) and not math.isfinite(v)]
    if op in ("sum", "mean"):
        if special:
            return sum(special)  # NaN, or an infinity
        if op == "mean" and n == 0:
            return math.nan
        total = sum(map(Fraction, x), Fraction(0))
        if op == "sum" and dtype not in FORMATS:
            return int(total)
        total = total / (n if op == "mean" else 1)
        return rounded(total.numerator, total.denominator, False, dtype)
    if op == "norm":
        if special:
            return math.nan if any(v != v for v in special) else math.inf
        total = sum((Fraction(v) ** 2 for v in x), Fraction(0))
        return rounded(total.numerator, total.denominator, True, dtype)
    if n == 0 or special:
        return math.nan
    mean = sum(map(Fraction, x), Fraction(0)) / n
    distances = sum(((Fraction(v) - mean) ** 2 for v in x), Fraction(0))
    if n <= ddof:
        return math.nan if distances == 0 else math.inf
    v = distances / (n - ddof)
    return rounded(v.numerator, v.denominator, op == "std", dtype)


EXACT = {
    "min": np.min, "max": np.max, "argmin": np.argmin, "argmax": np.argmax, "count": np.count_nonzero, "any": np.any, "all": np.all,
    "nanmin": np.nanmin, "nanmax": np.nanmax,
}
ROUNDED = {
    "sum": np.sum, "mean": np.mean, "var": np.var, "std": np.std, "nansum": np.nansum, "nanmean": np.nanmean, "nanvar": np.nanvar,
    "norm": lambda x, axis, keepdims: np.sqrt(np.sum(np.square(x.astype(np.float64)), axis=axis, keepdims=keepdims)),
}


def text(v):
    if isinstance(v, (bool, np.bool_)):
        return bool(v)
    if isinstance(v, (int, np.integer)):
        return str(int(v))
    v = float(v)
    return v.hex() if math.isfinite(v) else ("NaN" if v != v else ("-" if v < 0 else "+") + "Inf")


def groups(x, axis):
    """The elements of each output, in C order, as Python numbers."""
    axes = tuple(range(x.ndim)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in axes]
    moved = np.transpose(x, kept + sorted(axes)).reshape([x.shape[a] for a in kept] + [-1] if x.size else [0])
    if x.size == 0:
        outputs = int(np.prod([x.shape[a] for a in kept], dtype=int))
        return [[] for _ in range(outputs)]
    return [list(map(lambda v: v.item(), row)) for row in moved.reshape(-1, moved.shape[-1])]


def close(mine, theirs, scale, name):
    """NumPy's error is relative to the elements, whose differences cancel, and it may overflow on the way."""
    theirs = float(theirs)
    if not math.isfinite(theirs) or not math.isfinite(mine):
        return True
    return abs(mine - theirs) <= {"float64": 1e-12, "float32": 1e-4, "float16": 1e-1}[name] * scale


def case(x, axis, keepdims, ddof):
    want, dtypes = {}, {}
    for op, f in EXACT.items():
        try:
            if op in ("nanmin", "nanmax") and x.size == 0:
                f = EXACT[op[3:]]
            got = np.asarray(f(x, axis=axis, keepdims=keepdims))
        except (ValueError, TypeError):
            continue
        want[op] = [text(v) for v in got.ravel(order="C")]
        dtypes[op] = str(got.dtype)
    for op, f in ROUNDED.items():
        options = {"ddof": ddof} if op in ("var", "std", "nanvar") else {}
        theirs = np.asarray(f(x, axis=axis, keepdims=keepdims, **options))
        name = str(theirs.dtype) if op != "norm" else (str(x.dtype) if x.dtype.kind == "f" else "float64")
        values = [exact(op, g, name, ddof) for g in groups(x, axis)]
        for group, mine, other in zip(groups(x, axis), values, theirs.ravel(order="C")):
            if isinstance(mine, float):
                largest = max([abs(v) for v in group if math.isfinite(v)], default=0)
                scale = max(len(group) * largest ** (2 if "var" in op else 1), 1e-30)
                assert math.isnan(mine) == math.isnan(float(other)) or abs(float(other)) == math.inf or name != "float64", (op, mine, other, group)
                assert close(mine, other, scale, name), (op, mine, other, group)
        want[op] = [text(v) for v in values]
        dtypes[op] = name
    shape = np.sum(x, axis=axis, keepdims=keepdims).shape
    return {"axis": axis, "keepdims": keepdims, "ddof": ddof, "shape": shape, "want": want, "dtypes": dtypes}


def values(dtype, n, kind):
    d = np.dtype(dtype)
    if d.kind == "b":
        return rng.integers(0, 2, n).astype(bool) if kind != "edge" else np.full(n, bool(rng.integers(0, 2)))
    if d.kind in "iu":
        info = np.iinfo(d)
        if kind == "edge":
            return rng.choice(np.array([info.min, info.max, 0, 1], dtype=d), n)
        return rng.integers(max(info.min, -5), 6, n).astype(d) if kind == "small" else rng.integers(info.min, info.max, n, dtype=d, endpoint=True)
    x = rng.standard_normal(n)
    if kind == "small":
        x = np.round(x * 2)
    elif kind == "edge":
        x = rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, np.nan]), n)
    elif kind == "nan":
        x[rng.random(n) < 0.4] = np.nan
    elif kind == "offset":
        x = 1e3 + x / 16 if dtype == "float16" else 1e9 + x
    elif kind == "wide":
        x = np.ldexp(x, rng.integers(-13, 14, n) if dtype == "float16" else rng.integers(-60, 60, n))
    return x.astype(d)


SHAPES = [(), (1,), (7,), (0,), (3, 4), (4, 0), (0, 3), (6, 2), (2, 3, 3), (5, 1, 2), (1, 0, 2), (2, 3, 2, 2), (1, 9)]


def main():
    out = []
    dtypes = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
    for dtype, shape in itertools.product(dtypes, SHAPES):
        kinds = ["any", "small", "edge"] + (["nan", "offset", "wide"] if dtype.startswith("f") else [])
        for kind in kinds if int(np.prod(shape, dtype=int)) > 1 else kinds[:2]:
            order = rng.choice(["C", "F"])
            x = np.asarray(values(dtype, int(np.prod(shape, dtype=int)), kind).reshape(shape), order=order)
            if rng.integers(0, 4) == 0:
                x = x.astype(x.dtype.newbyteorder(">"))
            file = io.BytesIO()
            np.save(file, x)
            axes = [None] + list(range(x.ndim)) + ([(0, 1)] if x.ndim > 1 else []) + ([(0, 2), -1] if x.ndim > 2 else [])
            cases = [case(x.astype(x.dtype.newbyteorder("=")), axis, bool(rng.integers(0, 2)), int(rng.integers(0, 3))) for axis in axes]
            out.append({"npy": base64.b64encode(file.getvalue()).decode(), "cases": cases})
    n = sum(len(a["cases"]) for a in out)
    data = json.dumps(out, separators=(",", ":")).encode()
    with open("reductions.json.gz", "wb") as f:
        f.write(gzip.compress(data, 9, mtime=0))
    print(len(out), "arrays,", n, "cases,", sum(len(c["want"]) for a in out for c in a["cases"]), "statistics")


if __name__ == "__main__":
    main()
