// Write Ottla plugins in JavaScript.
//
// A transform:
//
//     import { records, text } from "./ottla.js";
//     export const transform = records((record) => ({ ...record, value: text(record.value).toUpperCase() }));
//
// Functions for SQL:
//
//     import { functionsOf } from "./ottla.js";
//     export const { functions, call } = functionsOf({
//       mask: { takes: ["utf8", "int64"], gives: "utf8", call: (text, keep) => text.slice(0, Number(keep)) },
//     });
//
// The layouts are those of wit/ottla-v1/.

/**
 * A transform. `work` gets a record `{ timestampMs, key, value, headers }`, whose key and value are a Uint8Array or null and whose
 * headers are `[name, Uint8Array | null]`, and gives what it becomes: nothing, a record, or an array of records. A key or value
 * may be given as a string. It must depend on the record alone; what it throws is the reason why the record cannot be handled.
 */
export function records(work) {
  return (batch) => {
    const input = new Input(batch);
    const count = input.u32();
    const out = new Output(batch.length + 64);
    out.u32(0);
    let emitted = 0;
    for (let index = 0; index < count; index++) {
      const source = input.u32();
      const answer = work(input.record());
      if (answer === undefined || answer === null) continue;
      for (const record of Array.isArray(answer) ? answer : [answer]) {
        out.u32(source);
        out.record(record);
        emitted++;
      }
    }
    const frame = out.bytes();
    new DataView(frame.buffer, frame.byteOffset).setUint32(0, emitted, true);
    return frame;
  };
}

const TYPES = { boolean: 1, int64: 2, float64: 3, utf8: 4, binary: 5, timestamp: 6 };

/**
 * Functions for SQL, by name: `{ takes: [type, …], gives: type, call: (argument, …) => value }`. The types are boolean (a boolean),
 * int64 (a BigInt), float64 (a number), utf8 (a string), binary (a Uint8Array) and timestamp (a number: milliseconds since 1970, UTC).
 * Where an argument is NULL the function is not called and gives NULL, unless it has `seesNull: true`: then it gets null. It gives NULL by
 * null. What it gives must depend on its arguments alone; what it throws is the reason why the row cannot be computed.
 */
export function functionsOf(byName) {
  const all = Object.entries(byName);
  for (const [name, { takes, gives }] of all) {
    for (const type of [...takes, gives]) {
      if (!(type in TYPES)) throw new Error(`${name}: ${type} is no type; the types are ${Object.keys(TYPES).join(", ")}`);
    }
  }
  return {
    functions: () => all.map(([name, { takes, gives }]) => `${name}(${takes.join(", ")}) -> ${gives}\n`).join(""),
    call: (batch) => {
      const input = new Input(batch);
      const [, { takes, gives, call, seesNull }] = all[input.u32()];
      const rows = input.u32();
      const columns = takes.map((type) => input.column(type, rows));
      const values = new Array(rows);
      const row = new Array(takes.length);
      for (let index = 0; index < rows; index++) {
        let isNull = false;
        for (let column = 0; column < columns.length; column++) {
          row[column] = columns[column](index);
          isNull ||= row[column] === null;
        }
        values[index] = isNull && !seesNull ? null : (call(...row) ?? null);
      }
      const out = new Output(batch.length + 64);
      out.column(gives, values);
      return out.bytes();
    },
  };
}

/** The text of UTF-8 bytes; null of null. */
export function text(bytes) {
  return bytes === null || bytes === undefined ? null : decode(bytes, 0, bytes.length);
}

/** The UTF-8 bytes of a text. */
export function utf8(text) {
  const out = new Output(text.length + 16);
  out.text(text);
  return out.bytes();
}

const decoder = typeof TextDecoder === "undefined" ? null : new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decode(bytes, from, to) {
  if (decoder !== null) return decoder.decode(bytes.subarray(from, to));
  let out = "";
  let at = from;
  while (at < to) {
    // Most texts are ASCII, which goes in pieces.
    let end = at;
    const limit = Math.min(to, at + 4096);
    while (end < limit && bytes[end] < 0x80) end++;
    if (end > at) {
      out += String.fromCharCode.apply(null, bytes.subarray(at, end));
      at = end;
      continue;
    }
    const first = bytes[at++];
    const more = first >= 0xf0 && first < 0xf5 ? 3 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xc2 && first < 0xe0 ? 1 : 0;
    if (more === 0 || at + more > to) throw new Error("this is not UTF-8");
    let code = first & (0x3f >> more);
    for (let index = 0; index < more; index++) {
      const next = bytes[at++];
      if ((next & 0xc0) !== 0x80) throw new Error("this is not UTF-8");
      code = (code << 6) | (next & 0x3f);
    }
    const tooShort = code < (more === 3 ? 0x10000 : more === 2 ? 0x800 : 0x80);
    if (tooShort || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw new Error("this is not UTF-8");
    out += String.fromCodePoint(code);
  }
  return out;
}

class Input {
  constructor(bytes) {
    this.all = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
  }

  u32() {
    const value = this.view.getUint32(this.at, true);
    this.at += 4;
    return value;
  }

  blob() {
    const length = this.view.getInt32(this.at, true);
    this.at += 4;
    if (length < 0) return null;
    const blob = this.all.subarray(this.at, this.at + length);
    this.at += length;
    return blob;
  }

  record() {
    const timestampMs = Number(this.view.getBigInt64(this.at, true));
    this.at += 8;
    const key = this.blob();
    const value = this.blob();
    const headers = new Array(this.u32());
    for (let index = 0; index < headers.length; index++) {
      const name = this.u32();
      const from = this.at;
      this.at += name;
      headers[index] = [decode(this.all, from, from + name), this.blob()];
    }
    return { timestampMs, key, value, headers };
  }

  /** A part of a column: where it begins. */
  part(length) {
    const from = this.at;
    this.at += (length + 7) & ~7;
    return from;
  }

  /** A function from a row to the column's value. */
  column(type, rows) {
    const head = this.part(8);
    if (this.all[head] !== TYPES[type]) throw new Error("the batch is none of ottla:plugin@1");
    const validity = this.all[head + 1] === 1 ? this.part((rows + 7) >> 3) : -1;
    const { all, view } = this;
    const isNull = (row) => validity >= 0 && ((all[validity + (row >> 3)] >> (row & 7)) & 1) === 0;
    if (type === "boolean") {
      const bits = this.part((rows + 7) >> 3);
      return (row) => (isNull(row) ? null : ((all[bits + (row >> 3)] >> (row & 7)) & 1) === 1);
    }
    if (type === "utf8" || type === "binary") {
      const offsets = this.part((rows + 1) * 4);
      const bytes = this.part(view.getUint32(offsets + rows * 4, true));
      const get = type === "utf8" ? (from, to) => decode(all, from, to) : (from, to) => all.subarray(from, to);
      return (row) => {
        if (isNull(row)) return null;
        return get(bytes + view.getUint32(offsets + row * 4, true), bytes + view.getUint32(offsets + row * 4 + 4, true));
      };
    }
    const values = this.part(rows * 8);
    if (type === "float64") return (row) => (isNull(row) ? null : view.getFloat64(values + row * 8, true));
    if (type === "int64") return (row) => (isNull(row) ? null : view.getBigInt64(values + row * 8, true));
    return (row) => (isNull(row) ? null : Number(view.getBigInt64(values + row * 8, true)));
  }
}

class Output {
  constructor(capacity) {
    this.buffer = new Uint8Array(capacity);
    this.view = new DataView(this.buffer.buffer);
    this.at = 0;
  }

  bytes() {
    return this.buffer.subarray(0, this.at);
  }

  reserve(length) {
    if (this.at + length <= this.buffer.length) return;
    const larger = new Uint8Array(Math.max(this.buffer.length * 2, this.at + length));
    larger.set(this.bytes());
    this.buffer = larger;
    this.view = new DataView(larger.buffer);
  }

  u32(value) {
    this.reserve(4);
    this.view.setUint32(this.at, value, true);
    this.at += 4;
  }

  raw(bytes) {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  text(text) {
    this.reserve(text.length * 3);
    const { buffer } = this;
    let at = this.at;
    for (let index = 0; index < text.length; index++) {
      let code = text.charCodeAt(index);
      if (code < 0x80) {
        buffer[at++] = code;
        continue;
      }
      if (code >= 0xd800 && code < 0xe000) {
        // Half of a pair alone is no character.
        const pair = code < 0xdc00 ? text.codePointAt(index) : 0;
        code = pair > 0xffff ? pair : 0xfffd;
        if (pair > 0xffff) index++;
      }
      if (code < 0x800) {
        buffer[at++] = 0xc0 | (code >> 6);
      } else {
        if (code < 0x10000) {
          buffer[at++] = 0xe0 | (code >> 12);
        } else {
          buffer[at++] = 0xf0 | (code >> 18);
          buffer[at++] = 0x80 | ((code >> 12) & 0x3f);
        }
        buffer[at++] = 0x80 | ((code >> 6) & 0x3f);
      }
      buffer[at++] = 0x80 | (code & 0x3f);
    }
    this.at = at;
  }

  /** A length, and the bytes or the text. */
  blob(blob) {
    if (blob === null || blob === undefined) return this.u32(0xffffffff);
    const from = this.at;
    this.u32(0);
    if (typeof blob === "string") this.text(blob);
    else this.raw(blob);
    this.view.setUint32(from, this.at - from - 4, true);
  }

  record({ timestampMs, key, value, headers }) {
    this.reserve(8);
    this.view.setBigInt64(this.at, BigInt(timestampMs), true);
    this.at += 8;
    this.blob(key);
    this.blob(value);
    this.u32(headers.length);
    for (const [name, value] of headers) {
      this.blob(name);
      this.blob(value);
    }
  }

  pad() {
    const zeros = -this.at & 7;
    this.reserve(zeros);
    this.buffer.fill(0, this.at, this.at + zeros);
    this.at += zeros;
  }

  bitmap(values, isSet) {
    const length = (values.length + 7) >> 3;
    this.reserve(length);
    this.buffer.fill(0, this.at, this.at + length);
    for (let row = 0; row < values.length; row++) {
      if (isSet(values[row])) this.buffer[this.at + (row >> 3)] |= 1 << (row & 7);
    }
    this.at += length;
    this.pad();
  }

  column(type, values) {
    const hasNulls = values.includes(null);
    this.raw(new Uint8Array([TYPES[type], hasNulls ? 1 : 0, 0, 0, 0, 0, 0, 0]));
    if (hasNulls) this.bitmap(values, (value) => value !== null);
    if (type === "boolean") return this.bitmap(values, (value) => value === true);
    if (type === "utf8" || type === "binary") {
      let offsets = this.at;
      this.reserve((values.length + 1) * 4);
      this.at += (values.length + 1) * 4;
      this.view.setUint32(offsets, 0, true);
      this.pad();
      const from = this.at;
      for (const value of values) {
        if (typeof value === "string" && type === "utf8") this.text(value);
        else if (value instanceof Uint8Array && type === "binary") this.raw(value);
        else if (value !== null) throw new Error(`${String(value)} is no ${type}`);
        offsets += 4;
        this.view.setUint32(offsets, this.at - from, true);
      }
      return this.pad();
    }
    this.reserve(values.length * 8);
    for (const value of values) {
      if (value === null) this.view.setBigInt64(this.at, 0n, true);
      else if (type === "float64") this.view.setFloat64(this.at, Number(value), true);
      else this.view.setBigInt64(this.at, BigInt(value), true);
      this.at += 8;
    }
  }
}
