// The tracker client for Node.js: init(), then log(), then finish().
//
// log() encodes a record and passes it to a worker thread (sender.js), which owns the sockets. So log() never waits for
// the network, even in a loop that never yields. The worker keeps records in memory until the sidecar has acked them.
'use strict'

const crypto = require('node:crypto')
const fs = require('node:fs')
const os = require('node:os')
const path = require('node:path')
const { Worker } = require('node:worker_threads')
const zlib = require('node:zlib')
const msgpack = require('@msgpack/msgpack')

const MAX_RECORD_BYTES = 8388608
const MAX_KEY_CHARS = 512
const RESERVED = new Set(['_step', '_timestamp', '_label'])

/** An error of the tracker. `code` is a refusal code of PROTOCOL.md, 'timeout', 'sidecar', 'storage' or 'closed'. */
class TrackerError extends Error {
  constructor(code, message) {
    super(message)
    this.name = 'TrackerError'
    this.code = code
  }
}

/**
 * Start a run.
 *
 * Waits up to `patience` seconds until the client is attached. If no sidecar answers, it prints one warning and
 * returns: records are then kept in memory, and sent once a sidecar answers.
 *
 * @param {object} options
 * @param {string} [options.sidecar] - endpoint of the control socket, or path of a connection file; default:
 *     TRACKER_SIDECAR
 * @param {string} [options.sidecarKey] - the sidecar's public key, or a file that contains it, if the sidecar encrypts;
 *     default: TRACKER_SIDECAR_KEY
 * @param {string} [options.clientKey] - a key file, if the sidecar lists its clients; default: TRACKER_CLIENT_KEY
 * @param {string} [options.id] - the run's id; default: eight random letters and digits
 * @param {string} [options.project]
 * @param {string} [options.name]
 * @param {string} [options.label] - name of this writer among several of one run
 * @param {string} [options.resume] - 'allow', 'must' or 'never'
 * @param {object} [options.config]
 * @param {number} [options.patience] - seconds, default 5
 * @param {number} [options.maxBytes] - maximum size of unacked records in memory, default 256 MiB; records beyond it
 *     are dropped and counted
 * @returns {Promise<Run>}
 * @throws {TrackerError} the sidecar refuses the client; `code` is its refusal code
 */
async function init(options = {}) {
  const run = new Run(options)
  try {
    await run.ready(options.patience ?? 5)
  } catch (error) {
    if (error.code !== 'timeout') throw error
    warn(`no sidecar answers at ${run.sidecar} yet; records are kept in memory until one does`)
  }
  return run
}

class Run {
  #worker
  #held = new Int32Array(new SharedArrayBuffer(4)) // size of unacked records; the sender subtracts the acked ones
  #maxBytes
  #client = randomName(12)
  #seq = 0
  #step = 0
  #losses = {}
  #lossesReported = true
  #asked = new Map()
  #questions = 0
  #attached
  #stopped = null // the error that ended it
  #ended = false // the exit record is queued
  #finished = null
  #atEnd = () => this.finish().catch((error) => warn(error.message))

  constructor(options) {
    const { sidecar = process.env.TRACKER_SIDECAR, id, project, name, label, resume, config, maxBytes } = options
    const { sidecarKey = process.env.TRACKER_SIDECAR_KEY, clientKey = process.env.TRACKER_CLIENT_KEY } = options
    if (!sidecar) {
      throw new TrackerError('sidecar', 'no sidecar is given; pass init({sidecar}) or set TRACKER_SIDECAR')
    }
    this.sidecar = sidecar
    this.id = id ?? randomName(8)
    this.#maxBytes = Math.min(maxBytes ?? 256 << 20, 2 ** 31 - 1 - MAX_RECORD_BYTES)
    const attach = { protocol: 1, pid: process.pid, place: machineId(), label: label ?? null, resume: resume ?? null }
    this.#worker = new Worker(path.join(__dirname, 'sender.js'), {
      workerData: { sidecar, sidecarKey, clientKey, run: this.id, client: this.#client, attach, held: this.#held },
    })
    this.#attached = new Promise((resolve, reject) => {
      this.#worker.on('message', (message) => this.#onMessage(message, resolve, reject))
      this.#worker.on('error', (error) => this.#stop(new TrackerError('closed', error.message), reject))
    })
    this.#attached.catch(() => {}) // reported where it is awaited
    this.#worker.unref() // after the listeners, which keep the process alive
    process.once('beforeExit', this.#atEnd)
    this.#put('run', {
      project,
      name,
      label,
      start_time: Date.now() / 1000,
      host: os.hostname(),
      pid: process.pid,
      program: process.argv[1],
      python: `Node.js ${process.versions.node}`,
    })
    if (config) this.config(config)
  }

  /**
   * Log metrics: numbers, booleans, strings, nested objects. Never waits.
   * @param {object} data
   * @param {number|bigint} [step] - default: one more than the last
   * @throws {TypeError|RangeError} if `data` or `step` is invalid; then nothing of this call is logged
   */
  log(data, step = this.#step) {
    const flat = metrics(data)
    if (typeof step !== 'bigint' && !Number.isSafeInteger(step)) {
      throw new TypeError(`step must be an integer, not ${step}`)
    }
    if (BigInt.asIntN(64, BigInt(step)) !== BigInt(step)) {
      throw new RangeError(`step must be a 64-bit integer, not ${step}`)
    }
    this.#put('log', { step: plain(step, 'step'), data: flat })
    this.#step = typeof step === 'bigint' ? step + 1n : step + 1
  }

  /** Set keys of the configuration. */
  config(values) {
    this.#put('config', { set: plain(values, 'config') })
  }

  /** Set keys of the summary. */
  summary(values) {
    this.#put('summary', { set: plain(values, 'summary') })
  }

  /**
   * Define how a metric is summarized and drawn.
   * @param {string} metric - a key, or a pattern with '*'
   * @param {{summary?: string[], goal?: 'minimize'|'maximize', stepMetric?: string}} [how]
   */
  define(metric, { summary, goal, stepMetric } = {}) {
    this.#put('define', { metric, summary, goal, step_metric: stepMetric })
  }

  /** Number of lost records by reason. */
  get losses() {
    return { ...this.#losses }
  }

  /** Wait until the client is attached. Throws a TrackerError if it is refused, or after `timeout` seconds. */
  async ready(timeout) {
    await this.#waitFor(this.#attached, timeout, () => `no sidecar answers at ${this.sidecar}`)
  }

  /** Wait until all logged records are durable. */
  async flush(timeout) {
    await this.#ask('flush', timeout)
  }

  /** Return the run's state, once all logged records are durable and readable. */
  async state(timeout) {
    const answer = await this.#ask('state', timeout)
    if (answer.error) throw new TrackerError('storage', answer.error)
    return answer.state
  }

  /**
   * End the run: record its end state, wait until all records are durable, and detach. May be called twice.
   * @param {object} [options]
   * @param {number} [options.exitCode] - default 0
   * @param {number} [options.timeout] - seconds, default 60
   * @returns {Promise<object>} the run's state
   */
  finish({ exitCode = process.exitCode ?? 0, timeout = 60 } = {}) {
    this.#finished ??= this.#finish(Number(exitCode), timeout)
    return this.#finished
  }

  async #finish(exitCode, timeout) {
    process.off('beforeExit', this.#atEnd)
    this.#put('exit', { state: exitCode === 0 ? 'finished' : 'failed', exit_code: exitCode })
    this.#ended = true
    try {
      return await this.state(timeout)
    } finally {
      this.#stopped ??= new TrackerError('closed', `run '${this.id}' is finished`)
      const exited = new Promise((resolve) => this.#worker.once('exit', resolve))
      this.#worker.ref()
      this.#worker.postMessage({ close: true })
      await exited
      const lost = Object.entries(this.#losses)
      if (lost.length) warn(`lost: ${lost.map(([reason, count]) => `${count} records (${reason})`).join(', ')}`)
    }
  }

  #put(kind, body) {
    if (this.#stopped || this.#ended) return this.#lose(this.#ended ? 'after finish()' : 'stopped')
    const full = Atomics.load(this.#held, 0) > this.#maxBytes
    if (full && kind !== 'exit' && kind !== 'losses') return this.#lose('memory full')
    if (!this.#lossesReported && kind !== 'losses') {
      this.#lossesReported = true
      this.#put('losses', { counts: this.#losses, source: this.#client })
    }
    const defined = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined))
    const record = encode(kind, this.id, this.#client, this.#seq + 1, defined)
    if (record.length > MAX_RECORD_BYTES) {
      throw new RangeError(`a '${kind}' record has ${record.length} bytes; at most ${MAX_RECORD_BYTES} are allowed`)
    }
    this.#seq += 1
    const framed = frame(record)
    Atomics.add(this.#held, 0, framed.length)
    this.#worker.postMessage({ seq: this.#seq, framed }, [framed.buffer])
  }

  #lose(reason) {
    if (!this.#losses[reason]) warn(`records are lost: ${reason}`)
    this.#losses[reason] = (this.#losses[reason] ?? 0) + 1
    this.#lossesReported = false
  }

  async #ask(what, timeout) {
    if (this.#stopped) throw this.#stopped
    const id = (this.#questions += 1)
    const answer = new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }))
    this.#worker.postMessage({ ask: what, id, after: this.#seq })
    try {
      return await this.#waitFor(answer, timeout, () => {
        const bytes = Atomics.load(this.#held, 0)
        return `the sidecar at ${this.sidecar} did not answer '${what}' in time; ${bytes} bytes are not acked yet`
      })
    } finally {
      this.#asked.delete(id)
    }
  }

  /** Wait for `promise` at most `timeout` seconds; keeps the process alive. */
  async #waitFor(promise, timeout, explain) {
    let timer
    const expired = new Promise((_, reject) => {
      const seconds = Math.min(timeout ?? 2 ** 20, 2 ** 20)
      timer = setTimeout(() => reject(new TrackerError('timeout', explain())), seconds * 1000)
    })
    try {
      return await Promise.race([promise, expired])
    } finally {
      clearTimeout(timer)
    }
  }

  #onMessage(message, resolve, reject) {
    if (message.attached) resolve(message.attached)
    else if (message.answer) this.#asked.get(message.answer.id)?.resolve(message.answer)
    else if (message.warning) warn(message.warning)
    else if (message.refused) this.#stop(new TrackerError(message.refused.code, message.refused.message), reject)
    else if (message.lost) this.#lose(message.lost)
  }

  #stop(error, reject) {
    this.#stopped ??= error
    process.off('beforeExit', this.#atEnd)
    reject(error)
    for (const { reject: rejectAnswer } of this.#asked.values()) rejectAnswer(error)
    this.#worker.postMessage({ close: true })
  }
}

function randomName(length) {
  const letters = 'abcdefghijklmnopqrstuvwxyz0123456789'
  return Array.from({ length }, () => letters[crypto.randomInt(letters.length)]).join('')
}

/** The machine on which this process's id is valid, as PROTOCOL.md defines it. */
function machineId() {
  try {
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'ascii').trim()
    return `${boot}/${fs.readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return os.hostname()
  }
}

function warn(message) {
  if (!process.env.TRACKER_SILENT) process.stderr.write(`tracker: ${message}\n`)
}

// -- encoding and decoding of records: no I/O, no state; used by both threads

/**
 * Encode one record.
 * @param {string} kind
 * @param {string} run
 * @param {string} client
 * @param {number} seq - 1, 2, 3, ..., or 0 for a record without a number
 * @param {object} body - plain data; integers beyond 32 bits as `plain()` returns them
 * @returns {Buffer}
 */
function encode(kind, run, client, seq, body, time = Date.now() / 1000) {
  const bytes = msgpack.encode([kind, run, client, seq, time, body], { useBigInt64: true })
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The CRC-32 of zlib, gzip and PNG; built into Node.js since 20.15. */
const crc32 = zlib.crc32 ?? ((bytes) => {
  let sum = -1
  for (const byte of bytes) sum = CRC_TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8)
  return ~sum >>> 0
})
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1
  return byte
})

/** Return a framed record: 0xC1, three bytes of length, a CRC-32, the record. */
function frame(record) {
  const framed = Buffer.allocUnsafeSlow(8 + record.length)
  framed.writeUInt32BE(0xc1000000 + record.length, 0)
  framed.writeUInt32BE(crc32(record), 4)
  record.copy(framed, 8)
  return framed
}

/** Decode one bare record. Integers become numbers if a number holds them exactly, else BigInt. */
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
 * Return a copy of `value` that msgpack can encode: integers beyond 32 bits become BigInt (else they would be encoded
 * as floats), dates become ISO strings, `undefined` in objects is omitted.
 * @throws {TypeError} if a value has another type; the message names its position
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
      throw new TypeError(`${name} must be a 64-bit integer, not ${value}`)
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
      throw new TypeError(`${name} must be null, a boolean, number, string, array or object, not a ${typeof value}`)
  }
}

/**
 * Return the metrics of one log() call, with nested keys joined by dots.
 * @throws {TypeError|RangeError} if a key or value is invalid; the message names the key
 */
function metrics(data, prefix = '', flat = {}) {
  if (data === null || typeof data !== 'object' || Array.isArray(data)) {
    throw new TypeError('log() needs an object, such as log({loss: 0.3})')
  }
  for (const [name, value] of Object.entries(data)) {
    const key = prefix + name
    if (value !== null && typeof value === 'object' && !Array.isArray(value) && typeof value._type !== 'string') {
      metrics(value, `${key}.`, flat)
      continue
    }
    if (!key || key.length > MAX_KEY_CHARS) {
      const start = JSON.stringify(key.slice(0, 40))
      throw new RangeError(`metric key ${start} has ${key.length} characters; it must have 1 to 512`)
    }
    if (RESERVED.has(key)) throw new RangeError(`metric key '${key}' is reserved; use another name`)
    if (value === null || value === undefined || Array.isArray(value)) {
      const what = Array.isArray(value) ? 'an array' : String(value)
      throw new TypeError(`metric '${key}' is ${what}; log a number, a boolean or a string`)
    }
    flat[key] = plain(value, `metric '${key}'`, 2)
  }
  return flat
}

module.exports = { Run, TrackerError, init, decode, encode, frame }
