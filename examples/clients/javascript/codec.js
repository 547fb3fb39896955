// Records as bytes, and bytes as records. No I/O, no state; used by both threads.
'use strict'

const zlib = require('node:zlib')
const msgpack = require('@msgpack/msgpack')

const MAX_RECORD_BYTES = 8388608
const MAX_KEY_CHARS = 512
const RESERVED = new Set(['_step', '_timestamp', '_label'])

/**
 * Encode one record.
 * @param {string} kind
 * @param {string} run
 * @param {string} client
 * @param {number} seq - 1, 2, 3, ... or 0 for what is not numbered
 * @param {object} body - plain data; whole numbers beyond 32 bits as `plain()` gives them
 * @returns {Buffer}
 */
function encode(kind, run, client, seq, body, time = Date.now() / 1000) {
  const bytes = msgpack.encode([kind, run, client, seq, time, body], { useBigInt64: true })
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The CRC-32 of zlib, gzip and PNG; Node.js has it since 20.15. */
const crc32 = zlib.crc32 ?? ((bytes) => {
  let sum = -1
  for (const byte of bytes) sum = CRC_TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8)
  return ~sum >>> 0
})
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1
  return byte
})

/** Put a record's bytes into a frame: 0xC1, three bytes of length, a CRC-32, the record. */
function frame(record) {
  const framed = Buffer.allocUnsafeSlow(8 + record.length)
  framed.writeUInt32BE(0xc1000000 + record.length, 0)
  framed.writeUInt32BE(crc32(record), 4)
  record.copy(framed, 8)
  return framed
}

/** Decode one bare record. Integers are numbers where a number can hold them exactly, and BigInt where not. */
function decode(bytes) {
  const [kind, run, client, seq, time, body] = small(msgpack.decode(bytes, { useBigInt64: true }))
  return { kind, run, client, seq, time, body }
}

function small(value) {
  if (typeof value === 'bigint') {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
  }
  if (Array.isArray(value)) return value.map(small)
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, small(item)]))
}

/**
 * Return a copy of `value` that msgpack can say: whole numbers beyond 32 bits become BigInt (they would be floats
 * otherwise), dates become ISO texts, `undefined` in objects is left out.
 * @throws {TypeError} naming where something else stands
 */
function plain(value, name, depth = 1) {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value
    case 'number':
      return Number.isSafeInteger(value) && (value > 0xffffffff || value < -0x80000000) ? BigInt(value) : value
    case 'bigint':
      if (value >= -(2n ** 63n) && value < 2n ** 64n) return value
      throw new TypeError(`${name} is ${value}; integers have 64 bits`)
    case 'object':
      if (value === null || value instanceof Uint8Array) return value
      if (value instanceof Date) return value.toISOString()
      if (depth > 16) throw new TypeError(`${name} is nested more than 16 levels deep`)
      if (Array.isArray(value)) return value.map((item, index) => plain(item, `${name}[${index}]`, depth + 1))
      return Object.fromEntries(
        Object.entries(value)
          .filter(([, item]) => item !== undefined)
          .map(([key, item]) => [key, plain(item, `${name}.${key}`, depth + 1)])
      )
    default:
      throw new TypeError(`${name} is a ${typeof value}; it takes null, booleans, numbers, strings, arrays and objects`)
  }
}

/**
 * Return the metrics of one log(), nested keys joined with dots.
 * @throws {TypeError|RangeError} naming the key
 */
function metrics(data, prefix = '', found = {}) {
  if (data === null || typeof data !== 'object' || Array.isArray(data)) {
    throw new TypeError('log() takes an object: log({loss: 0.3})')
  }
  for (const [name, value] of Object.entries(data)) {
    const key = prefix + name
    if (value !== null && typeof value === 'object' && !Array.isArray(value) && typeof value._type !== 'string') {
      metrics(value, `${key}.`, found)
      continue
    }
    if (!key || key.length > MAX_KEY_CHARS) {
      throw new RangeError(`metric key ${JSON.stringify(key.slice(0, 40))} has ${key.length} characters; 1 to 512`)
    }
    if (RESERVED.has(key)) throw new RangeError(`metric key '${key}' is reserved: every row has it by itself`)
    if (value === null || value === undefined || Array.isArray(value)) {
      const what = Array.isArray(value) ? 'an array' : String(value)
      throw new TypeError(`metric '${key}' is ${what}; log a number, a boolean or a string`)
    }
    found[key] = plain(value, `metric '${key}'`, 2)
  }
  return found
}

module.exports = { MAX_RECORD_BYTES, decode, encode, frame, metrics, plain }
