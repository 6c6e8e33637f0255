#!/usr/bin/env python3
"""Write stores.json.gz: Zarr arrays of both versions, and what they contain.

Version 2 is written by zarr-python (Debian: python3-zarr, python3-numcodecs), version 3 by the specification; verify.mjs
reads those with zarrita. Each case has the files of its store, the elements as an .npy file, and their exact sum.
"""
import base64
import fractions
import gzip
import io
import itertools
import json
import struct

import numcodecs
import numpy as np
import zarr

rng = np.random.default_rng(7)
NAMES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
BLOSC = [(c, s) for c in ("blosclz", "lz4", "lz4hc", "zlib", "zstd") for s in (0, 1, 2)]
cases = []


def elements(dtype, shape):
    """Elements that compress a bit: runs, full range, special values."""
    n = int(np.prod(shape))
    kind = rng.integers(3)
    if dtype.kind == "b":
        a = rng.integers(0, 2, n)
    elif dtype.kind in "iu":
        info = np.iinfo(dtype)
        a = rng.integers(info.min, info.max, n, dtype=dtype.newbyteorder("="), endpoint=True) if kind == 0 else np.arange(n) // 5 % 100
    elif kind == 0:
        a = rng.standard_normal(n) * 10.0 ** rng.integers(-3, 3)
    else:
        a = np.arange(n) // 4 * 0.5
        if kind == 2 and n > 3:
            a[rng.integers(n)] = [np.nan, np.inf, -np.inf, -0.0][rng.integers(4)]
    return np.asarray(a).astype(dtype).reshape(shape)


def exact(a):
    """The correctly rounded sum of a, as text."""
    if a.dtype.kind in "biu":
        return str(sum(int(v) for v in a.ravel()))
    values = a.astype("f8").ravel()
    if not np.isfinite(values).all():
        with np.errstate(all="ignore"):
            return repr(float(values.sum()))
    total = sum((fractions.Fraction(float(v)) for v in values), fractions.Fraction(0))
    rounded = float(total)
    if a.dtype.itemsize < 8 and total:  # once: to odd, then to the dtype
        near = np.nextafter(rounded, np.inf if fractions.Fraction(rounded) < total else -np.inf)
        if fractions.Fraction(rounded) != total and struct.unpack("<q", struct.pack("<d", rounded))[0] % 2 == 0:
            rounded = float(near)
        with np.errstate(all="ignore"):
            return repr(float(a.dtype.newbyteorder("=").type(rounded)))
    return repr(rounded)


def add(name, files, a):
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(a) if a.ndim else a)
    files = {k: base64.b64encode(bytes(v)).decode() for k, v in files.items() if not k.endswith(".zattrs")}
    cases.append({"name": name, "files": files, "npy": base64.b64encode(buffer.getvalue()).decode(), "sum": exact(a)})


def geometry():
    dims = int(rng.choice([0, 1, 1, 2, 2, 2, 3, 3, 4]))
    shape = tuple(int(v) for v in rng.integers(1, [1, 40, 10, 6, 4][dims] + 1, dims))
    if dims and rng.integers(40) == 0:
        shape = (0,) + shape[1:]
    chunks = tuple(int(rng.integers(max(d // 3, 1), d + 2)) for d in shape)
    return shape, chunks


def fill_of(dtype):
    if dtype.kind == "b":
        return bool(rng.integers(2))
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(rng.choice([0, 1, 7, int(info.max), int(info.min)], p=None)) if dtype.itemsize < 8 else [0, 7, int(info.max), int(info.min)][rng.integers(4)]
    return float(rng.choice([0.0, 1.5, -2.25, np.nan, np.inf, -np.inf]))


def drop(files, is_chunk):
    """Remove some of the chunks."""
    for k in [k for k in files if is_chunk(k)]:
        if rng.integers(3) == 0:
            del files[k]


def version2():
    compressors = [None, numcodecs.Zlib(1), numcodecs.GZip(5), numcodecs.Zstd(3), numcodecs.LZ4(1)]
    compressors += [numcodecs.Blosc(c, 5, s, int(rng.choice([0, 0, 256]))) for c, s in BLOSC]
    dtypes = [np.dtype(n) for n in NAMES] + [np.dtype(n).newbyteorder(">") for n in NAMES if np.dtype(n).itemsize > 1]
    for dtype, order, compressor in itertools.product(dtypes, "CF", compressors):
        shape, chunks = geometry()
        separator = "./"[rng.integers(2)]
        store, fill = {}, fill_of(dtype)
        z = zarr.create(
            shape, chunks=chunks, dtype=dtype, order=order, compressor=compressor, fill_value=fill, store=store,
            dimension_separator=separator, write_empty_chunks=bool(rng.integers(2)))
        z[...] = elements(dtype, shape)
        if rng.integers(2):
            drop(store, lambda k: not k.startswith("."))
        if order == "C" and rng.integers(4) == 0 and dtype.itemsize == 8:
            store[".zattrs"] = b"{}"
        a = z[...]
        name = f"v2 {dtype.str} {shape} {chunks} {order} {separator} fill {fill} {compressor and compressor.get_config()}"
        add(name, store, a)


def crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c ^= b
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return struct.pack("<I", c ^ 0xFFFFFFFF)


def bytes_codecs():
    yield [], lambda d, s: d
    yield [{"name": "crc32c"}], lambda d, s: d + crc32c(d)
    yield [{"name": "gzip", "configuration": {"level": 1}}], lambda d, s: numcodecs.GZip(1).encode(d)
    yield [{"name": "zstd", "configuration": {"level": 3, "checksum": False}}], lambda d, s: numcodecs.Zstd(3).encode(d)
    yield [{"name": "zstd", "configuration": {"level": 0, "checksum": False}}, {"name": "crc32c"}], \
        lambda d, s: (lambda e: e + crc32c(e))(bytes(numcodecs.Zstd(1).encode(d)))
    for cname, shuffle in BLOSC:
        if cname == "lz4hc" or shuffle == 2 and cname == "zlib":
            continue
        yield [{"name": "blosc", "configuration": {"cname": cname, "clevel": 5, "shuffle": ["noshuffle", "shuffle", "bitshuffle"][shuffle],
                                                   "typesize": 0, "blocksize": 0}}], \
            lambda d, s, c=cname, h=shuffle: numcodecs.Blosc(c, 5, h).encode(np.frombuffer(d, f"V{s}") if s > 1 else d)


def fill_json(v):
    if isinstance(v, float):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(v), v)
    return v


def pieces(shape, chunks):
    return itertools.product(*(range(-(-d // c)) for d, c in zip(shape, chunks)))


def cut(a, at, chunks, fill):
    """The chunk at a position of the grid, padded, and its region in a."""
    region = tuple(slice(i * c, (i + 1) * c) for i, c in zip(at, chunks))
    part = np.full(chunks, fill, a.dtype)
    have = a[region]
    part[tuple(slice(0, d) for d in have.shape)] = have
    return part, region


def version3():
    for name, (codecs, encode), sharded in itertools.product(NAMES, list(bytes_codecs()), (False, True)):
        big = bool(rng.integers(2)) and np.dtype(name).itemsize > 1
        dtype = np.dtype(name).newbyteorder(">" if big else "<")
        shape, chunks = geometry()
        if sharded and not shape:
            shape, chunks = (5,), (2,)
        dims = len(shape)
        a, fill = elements(dtype, shape), fill_of(dtype)
        filled = np.full((), fill, dtype)
        order = list(range(dims))
        if dims > 1 and rng.integers(2):
            order = order[::-1] if rng.integers(2) else [int(i) for i in rng.permutation(dims)]
        array_codecs = [] if order == sorted(order) else [{"name": "transpose", "configuration": {"order": order}}]
        endian = {"name": "bytes", "configuration": {"endian": "big" if big else "little"}}
        if dtype.itemsize == 1:
            endian = {"name": "bytes"}
        codecs_here = json.loads(json.dumps(codecs))
        for c in codecs_here:
            if c["name"] == "blosc":
                c["configuration"]["typesize"] = dtype.itemsize
        chain = array_codecs + [endian] + codecs_here

        def chunk_bytes(part):
            return bytes(encode(part.transpose(order).tobytes(), dtype.itemsize))

        files = {}
        prefix, separator = ("c", "/") if rng.integers(3) else [("c", "."), ("", "."), ("", "/")][rng.integers(3)]

        def key(at):
            parts = [str(i) for i in at]
            if prefix:
                parts = [prefix] + parts
            return separator.join(parts) or "0"

        location = ["end", "start"][rng.integers(2)]
        checked, index_big = bool(rng.integers(3)), rng.integers(5) == 0
        if not sharded:
            grid = chunks
            for at in pieces(shape, chunks):
                part, region = cut(a, at, chunks, fill)
                if rng.integers(4) == 0:
                    a[region] = filled
                else:
                    files[key(at)] = chunk_bytes(part)
        else:
            per = tuple(int(v) for v in rng.integers(1, 4, dims))
            grid = tuple(c * p for c, p in zip(chunks, per))
            for at in pieces(shape, grid):
                ranges, body, offset = [], b"", 0
                index_bytes = int(np.prod(per)) * 16 + (4 if checked else 0)
                if location == "start":
                    offset = index_bytes
                for inner in np.ndindex(*per):
                    chunk = tuple(i * p + k for i, p, k in zip(at, per, inner))
                    part, region = cut(a, chunk, chunks, fill)
                    if rng.integers(4) == 0 or any(i * c >= d for i, c, d in zip(chunk, chunks, shape)):
                        a[region] = filled
                        ranges += [2**64 - 1, 2**64 - 1]
                        continue
                    data = chunk_bytes(part)
                    ranges += [offset + len(body), len(data)]
                    body += data
                if not body:
                    continue
                index = struct.pack(("><"[not index_big]) + f"{len(ranges)}Q", *ranges)
                index += crc32c(index) if checked else b""
                files[key(at)] = index + body if location == "start" else body + index
            index_codecs = [{"name": "bytes", "configuration": {"endian": "big" if index_big else "little"}}]
            index_codecs += [{"name": "crc32c"}] if checked else []
            chain = [{"name": "sharding_indexed", "configuration": {
                "chunk_shape": chunks, "codecs": chain, "index_codecs": index_codecs, "index_location": location}}]
        encoding = {"name": "default", "configuration": {"separator": separator}}
        if not prefix:
            encoding = {"name": "v2", "configuration": {"separator": separator}}
        files["zarr.json"] = json.dumps({
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": name, "fill_value": fill_json(fill),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": grid}}, "chunk_key_encoding": encoding,
            "codecs": chain, "attributes": {"units": "K"}}).encode()
        add(f"v3 {name} {shape} {chunks} of {grid} order {order} {[c['name'] for c in codecs]} {codecs_here}", files, a)


if __name__ == "__main__":
    version2()
    version3()
    print(len(cases), "cases")
    with open("stores.json.gz", "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
        z.write(json.dumps(cases).encode())
