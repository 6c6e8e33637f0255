// Reads the arrays of stores.json.gz with zarrita (npm install zarrita) and compares their elements.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import * as zarr from "zarrita";

const cases = JSON.parse(gunzipSync(readFileSync(process.argv[2])));
const counts = { equal: 0, different: 0, unread: {} };

// The elements of an .npy file as numbers, in C order.
function elements(npy) {
  const length = npy.readUInt16LE(8);
  const header = npy.subarray(10, 10 + length).toString();
  const [, order, kind, size] = /'descr': '(.)(.)(\d)'/.exec(header);
  const data = npy.subarray(10 + length);
  const end = order === ">" ? "BE" : "LE";
  const out = [];
  for (let i = 0; i < data.length; i += +size) {
    if (kind === "f" && size === "2") {
      const bits = end === "LE" ? data.readUInt16LE(i) : data.readUInt16BE(i);
      const e = (bits >> 10) & 31, m = bits & 1023, s = bits >> 15 ? -1 : 1;
      out.push(e === 31 ? (m ? NaN : s * Infinity) : e ? s * 2 ** (e - 25) * (1024 + m) : s * 2 ** -24 * m);
    } else if (kind === "f") out.push(data[(size === "4" ? "readFloat" : "readDouble") + end](i));
    else if (size === "8") out.push(data[(kind === "i" ? "readBigInt64" : "readBigUInt64") + end](i));
    else if (size === "1") out.push(kind === "i" ? data.readInt8(i) : kind === "b" ? data[i] === 1 : data[i]);
    else out.push(data[`read${kind === "i" ? "Int" : "UInt"}${size * 8}${end}`](i));
  }
  return out;
}

// Why zarrita does not read an array, if that is known.
function limit(files) {
  const text = Buffer.from(files["zarr.json"] ?? files[".zarray"], "base64").toString();
  const m = JSON.parse(text);
  if (m.codecs?.[0].configuration?.index_location === "start") return "index at the start of shards";
  if (/"fill_value": -?\d{17}/.test(text)) return "fill_value beyond 2^53";
  if (m.data_type === "float16" || /f2/.test(m.dtype)) return "float16";
  if (m.shape.includes(0)) return "no elements";
}

for (const c of cases) {
  try {
    const why = limit(c.files);
    if (why) throw new Error(why);
    const store = new Map(Object.entries(c.files).map(([k, v]) => ["/" + k, new Uint8Array(Buffer.from(v, "base64"))]));
    store.getRange = (key, r) => {
      const data = store.get(key);
      return data && ("suffixLength" in r ? data.slice(-r.suffixLength) : data.slice(r.offset, r.offset + r.length));
    };
    const array = await zarr.open(store, { kind: "array" });
    const got = await zarr.get(array);
    const want = elements(Buffer.from(c.npy, "base64"));
    const values = [];
    const walk = (axis, at) => {
      if (axis === array.shape.length) values.push(typeof got.data.get === "function" ? got.data.get(at) : got.data[at]);
      else for (let i = 0; i < array.shape[axis]; i++) walk(axis + 1, at + i * got.stride[axis]);
    };
    if (array.shape.length === 0) values.push(typeof got === "object" ? got.data[0] : got);
    else walk(0, 0);
    const same = values.length === want.length && values.every((v, i) => Object.is(v, want[i]));
    if (!same) console.log("different:", c.name);
    counts[same ? "equal" : "different"]++;
  } catch (e) {
    const why = String(e.message).slice(0, 60);
    (counts.unread[why] ??= []).push(c.name);
  }
}
for (const [why, names] of Object.entries(counts.unread)) console.log(`${names.length} not read (${why}), such as ${names[0]}`);
console.log(counts.equal, "equal,", counts.different, "different");
