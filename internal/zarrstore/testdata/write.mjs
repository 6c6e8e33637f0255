// Writes zarrita.json.gz: arrays of version 3 that zarrita wrote (npm install zarrita), and what they contain, as stores.py
// does. zarrita writes no shards, gzip and crc32c; those of stores.py are read by it in verify.mjs.
import { writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import * as zarr from "zarrita";

let state = 12345;
const random = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;

const types = {
  bool: ["|b1", 1, (v, i, n) => v.setUint8(i, n & 1)],
  int8: ["|i1", 1, (v, i, n) => v.setInt8(i, n)],
  int16: ["<i2", 2, (v, i, n) => v.setInt16(i, n, true)],
  int32: ["<i4", 4, (v, i, n) => v.setInt32(i, n, true)],
  int64: ["<i8", 8, (v, i, n) => v.setBigInt64(i, BigInt(n), true)],
  uint8: ["|u1", 1, (v, i, n) => v.setUint8(i, n)],
  uint16: ["<u2", 2, (v, i, n) => v.setUint16(i, n, true)],
  uint32: ["<u4", 4, (v, i, n) => v.setUint32(i, n, true)],
  uint64: ["<u8", 8, (v, i, n) => v.setBigUint64(i, BigInt(n), true)],
  float32: ["<f4", 4, (v, i, n) => v.setFloat32(i, n / 4, true)],
  float64: ["<f8", 8, (v, i, n) => v.setFloat64(i, n / 8, true)],
};

// The .npy file of numbers in C order.
function npy(descr, shape, data) {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(", ")})`;
  let header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  header = header.padEnd(117) + "\n";
  const length = Buffer.alloc(2);
  length.writeUInt16LE(header.length);
  return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), length, Buffer.from(header), data]);
}

const codecs = [[]];
for (const cname of ["blosclz", "lz4", "lz4hc", "zlib", "zstd"])
  for (const shuffle of ["noshuffle", "shuffle", "bitshuffle"]) codecs.push(["blosc", cname, shuffle]);
codecs.push(["zstd"]);

const cases = [];
for (const [dtype, [descr, size, put]] of Object.entries(types)) {
  for (const codec of codecs) {
    for (const transposed of [false, true]) {
      const dims = 1 + random(3);
      const shape = Array.from({ length: dims }, () => 1 + random(9));
      const chunkShape = shape.map((n) => 1 + random(n + 2));
      const list = [{ name: "bytes", configuration: size > 1 ? { endian: random(2) ? "little" : "big" } : {} }];
      if (transposed) list.unshift({ name: "transpose", configuration: { order: shape.map((_, i) => dims - 1 - i) } });
      if (codec[0] === "blosc") {
        list.push({ name: "blosc", configuration: { cname: codec[1], clevel: 1 + random(9), shuffle: codec[2], typesize: size, blocksize: 0 } });
      } else if (codec[0] === "zstd") list.push({ name: "zstd", configuration: { level: 3, checksum: false } });
      const store = new Map();
      await zarr.create(zarr.root(store), {
        shape, chunkShape, dtype, codecs: list, fillValue: dtype === "bool" ? false : 3, chunkSeparator: random(2) ? "/" : ".",
      });
      const array = await zarr.open(zarr.root(store), { kind: "array" });
      const total = shape.reduce((a, b) => a * b, 1);
      const data = Buffer.alloc(total * size);
      const view = new DataView(data.buffer, data.byteOffset, data.length);
      let sum = 0n;
      const scale = dtype === "float32" ? 4n : dtype === "float64" ? 8n : 1n;
      for (let i = 0; i < total; i++) {
        const n = dtype === "bool" ? random(2) : random(4) ? random(dtype[0] === "u" ? 200 : 100) : 7;
        put(view, i * size, n);
        sum += BigInt(n);
      }
      const kinds = { bool: zarr.BoolArray, int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array, float32: Float32Array, float64: Float64Array };
      const stride = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
      const copy = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
      await zarr.set(array, null, { data: new kinds[dtype](copy), shape, stride });
      // Without some chunks, whose elements are then the fill value.
      const missing = random(3) === 0 ? [...store.keys()].filter((k) => k.includes("/c")).slice(0, 1) : [];
      for (const key of missing) {
        store.delete(key);
        const at = key.slice(key.indexOf("/c") + 3).split(/[/.]/).map(Number);
        for (let i = 0; i < total; i++) {
          if (shape.every((n, k) => Math.floor((Math.floor(i / stride[k]) % n) / chunkShape[k]) === at[k])) {
            const old = size === 8 && dtype[0] !== "f" ? view.getBigInt64(i * 8, true) : BigInt(Math.round(Number(new kinds[dtype](data.buffer.slice(data.byteOffset + i * size, data.byteOffset + (i + 1) * size))[0] ?? 0) * Number(scale)));
            const now = dtype === "bool" ? 0 : 3 * Number(scale);
            const was = dtype === "bool" ? BigInt(data[i]) : old;
            sum += BigInt(now) - was;
            put(view, i * size, now);
          }
        }
      }
      const files = Object.fromEntries([...store].map(([k, v]) => [k.slice(1), Buffer.from(v).toString("base64")]));
      const value = scale === 1n ? String(sum) : String(Number(sum) / Number(scale));
      cases.push({ name: `zarrita ${dtype} ${codec.join("-") || "none"}${transposed ? " transposed" : ""}${missing.length ? " missing" : ""}`, files, npy: npy(descr, shape, data).toString("base64"), sum: value });
    }
  }
}
writeFileSync("zarrita.json.gz", gzipSync(JSON.stringify(cases), { level: 9 }));
console.log(cases.length, "cases");
