// The worker thread that owns the sockets: it attaches, sends records, receives acks, and reattaches when necessary.
//
// It keeps every record until it is acked. Does not know about metrics: records are bytes here.
'use strict'

const fs = require('node:fs')
const { setTimeout: sleep } = require('node:timers/promises')
const { parentPort, workerData } = require('node:worker_threads')
const zmq = require('zeromq')
const { decode, encode, frame } = require('./tracker')

const { sidecar, sidecarKey, clientKey, run, client, attach, held } = workerData

const SILENCE_MS = 2000 // reattach after this time without a result while one is expected
const BEAT_MS = 1000
const MAX_FLIGHT_BYTES = 4 << 20 // sent and not acked
const MAX_MESSAGE_BYTES = 256 << 10
const PAUSE_MS = 5 // between two messages, so that small records are batched
const LONGEST_DELAY_MS = 2000
const MAX_STUCK = 5 // consecutive reattaches because of the same record before it is replaced

const FATAL = new Set(['protocol', 'client', 'run', 'exists', 'missing', 'kind', 'encoding', 'form', 'size', 'depth'])

/** An event for one waiter; it also wakes a waiter that comes later. */
class Bell {
  #ring = () => {}
  #rung = false

  ring() {
    this.#rung = true
    this.#ring()
  }

  async wait(ms) {
    if (!this.#rung) {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, ms)
        this.#ring = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    this.#rung = false
    this.#ring = () => {}
  }
}

class Refused extends Error {
  constructor({ code, message, where }) {
    super(message)
    Object.assign(this, { code, where })
  }
}

const bell = new Bell()
const unacked = [] // {seq, framed}, the oldest first
const questions = [] // {id, ask, after, asked}
let sent = 0 // number of records of `unacked` sent on this attachment
let flight = 0 // their size in bytes
let lastReceived = 0 // time of the last result, or when one was first expected
let lastSent = 0
let acked = 0
let closing = false
let detachReason = null // why this attachment has failed; null while it works
let elsewhere = null // the connection file of another sidecar that holds the run
let stuck = { last: -1, times: 0 }
const warned = new Set()
let pair = null // our own keys, shared by all three sockets

parentPort.on('message', (message) => {
  if (message.framed) unacked.push({ seq: message.seq, framed: Buffer.from(message.framed) })
  else if (message.ask) questions.push({ id: message.id, ask: message.ask, after: message.after, asked: false })
  else closing = true
  bell.ring()
})

main()

async function main() {
  let delay = 20
  let again = false
  while (!closing) {
    let sockets
    try {
      const attached = await requestAttach(again)
      sockets = open(attached)
      delay = 20
      again = true
    } catch (error) {
      if (error instanceof Refused) {
        elsewhere = error.code === 'elsewhere' && !elsewhere ? error.where : null
        if (error.code === 'closing' || error.code === 'elsewhere') delay = 20
        else if (FATAL.has(error.code) || !again) {
          return parentPort.postMessage({ refused: { code: error.code, message: error.message } })
        }
        warnOnce(error.code, `the sidecar refused this client: ${error.message}; retrying`)
      } else {
        elsewhere = null
      }
      if (!closing) await pause(delay)
      delay = Math.min(2 * delay, LONGEST_DELAY_MS)
      continue
    }
    receive(sockets.results)
    await send(sockets.records)
    if (closing && !detachReason) {
      await sockets.records.send(message('detach', {})).catch(() => {})
      sockets.records.linger = 1000 // the detach record is sent only once
    }
    sockets.records.close()
    sockets.results.close()
  }
  parentPort.close()
}

/** Send an attach request to the control socket; return the body of 'attached'. */
async function requestAttach(again) {
  const { endpoint, security } = findSidecar()
  const control = new zmq.Dealer({ ...security, linger: 0, receiveTimeout: SILENCE_MS, sendTimeout: SILENCE_MS })
  try {
    control.connect(endpoint)
    await control.send(message('attach', { ...attach, again }))
    const { kind, body } = decode((await control.receive()).at(-1))
    if (kind !== 'attached') throw new Refused(body)
    return { ...body, security, host: new RegExp('^tcp://(.*):\\d+$').exec(endpoint)?.[1] }
  } finally {
    control.close()
  }
}

function findSidecar() {
  const address = elsewhere ?? sidecar
  const { door: endpoint, public_key: fileKey } = address.includes('://') ? { door: address } : readJson(address)
  const serverKey = sidecarKey ? readPublicKey(sidecarKey) : fileKey
  return { endpoint, security: serverKey ? withKeys(serverKey) : {} }
}

const readJson = (path) => JSON.parse(fs.readFileSync(path, 'utf8'))
const readPublicKey = (keyOrFile) => (fs.existsSync(keyOrFile) ? readJson(keyOrFile).public_key : keyOrFile)

/** The options of an encrypted socket. */
function withKeys(serverKey) {
  if (!pair) {
    const { public_key: publicKey, secret_key: secretKey } = clientKey ? readJson(clientKey) : {}
    pair = clientKey ? { publicKey, secretKey } : zmq.curveKeyPair()
  }
  return { curveServerKey: serverKey, curvePublicKey: pair.publicKey, curveSecretKey: pair.secretKey }
}

/** Connect new sockets, drop the durable records, and prepare to send the others. */
function open({ records, results, last, host, security, version }) {
  const reached = (endpoint) => (host ? endpoint.replace('tcp://*:', `tcp://${host}:`) : endpoint)
  const options = { ...security, linger: 0, maxMessageSize: 16777216 }
  const sockets = {
    records: new zmq.Push({ ...options, sendTimeout: 0, sendHighWaterMark: 64 }),
    results: new zmq.Pull({ ...options, receiveHighWaterMark: 64 }),
  }
  sockets.records.connect(reached(records))
  sockets.results.connect(reached(results))
  sent = 0
  flight = 0
  for (const question of questions) question.asked = false
  dropAcked(last)
  unstick(last)
  detachReason = null
  lastReceived = lastSent = Date.now()
  if (unacked.length && unacked[0].seq > last + 1) {
    warnOnce('behind', `the sidecar has lost records ${last + 1} to ${unacked[0].seq - 1}, which it had acked`)
  }
  parentPort.postMessage({ attached: { version } })
  return sockets
}

/** Send until the attachment fails or the thread is closed. */
async function send(socket) {
  while (!detachReason && !closing) {
    const now = Date.now()
    const outgoing = next(now)
    if (!outgoing) {
      await bell.wait(100)
    } else if (await socket.send(outgoing.message).then(() => true, () => false)) {
      if (!expecting()) lastReceived = now
      lastSent = now
      outgoing.done()
      await sleep(PAUSE_MS)
    } else {
      await sleep(PAUSE_MS) // its queue is full
    }
    if (expecting() && Date.now() - lastReceived > SILENCE_MS) detachReason = 'silence'
  }
}

const expecting = () => sent > 0 || questions.some((question) => question.asked)

/** The next message, and what to do once it is sent; null if there is nothing to send. */
function next(now) {
  if (sent < unacked.length && flight < MAX_FLIGHT_BYTES) {
    let end = sent
    let size = 0
    do size += unacked[end++].framed.length
    while (end < unacked.length && size + unacked[end].framed.length <= MAX_MESSAGE_BYTES)
    const frames = unacked.slice(sent, end).map((record) => record.framed)
    const upTo = unacked[end - 1].seq
    // An ack may arrive while the message is being sent, so positions are looked up by sequence number.
    return {
      message: Buffer.concat(frames, size),
      done: () => {
        while (sent < unacked.length && unacked[sent].seq <= upTo) flight += unacked[sent++].framed.length
      },
    }
  }
  const lastSentSeq = sent > 0 ? unacked[sent - 1].seq : acked
  const question = questions.find(({ asked, after }) => !asked && after <= lastSentSeq)
  if (question) {
    const { id, ask } = question
    return { message: message('request', { id, ask }), done: () => (question.asked = true) }
  }
  if (now - lastSent >= BEAT_MS) return { message: message('beat', {}), done: () => {} }
  return null
}

/** Handle results until the socket is closed. */
async function receive(socket) {
  try {
    for await (const [bytes] of socket) {
      lastReceived = Date.now()
      onResult(decode(bytes))
    }
  } catch {
    if (!socket.closed) detachReason = 'results' // an unreadable result; reattaching is always safe
  }
}

function onResult({ kind, client: receiver, body }) {
  // Another client's result: we were considered dead, and our port was reassigned.
  if (receiver !== client) detachReason = 'results'
  else if (kind === 'ack') dropAcked(body.seq)
  else if (kind === 'answer') onAnswer(body)
  else if (kind === 'reattach') detachReason = 'gap'
  else if (kind === 'problem') warnOnce(body.code, `the sidecar rejected a record: ${body.message}`)
  bell.ring()
}

function onAnswer(body) {
  const index = questions.findIndex(({ id }) => id === body.id)
  if (index < 0) return
  if (body.seq !== undefined) dropAcked(body.seq)
  if (acked < questions[index].after) {
    detachReason = 'gap' // answered before the records arrived: reattach and ask again
  } else {
    questions.splice(index, 1)
    parentPort.postMessage({ answer: body })
  }
}

function dropAcked(seq) {
  let count = 0
  let bytes = 0
  while (count < unacked.length && unacked[count].seq <= seq) {
    bytes += unacked[count].framed.length
    if (count < sent) flight -= unacked[count].framed.length
    count += 1
  }
  unacked.splice(0, count)
  sent = Math.max(0, sent - count)
  acked = Math.max(acked, seq)
  Atomics.sub(held, 0, bytes)
}

/**
 * Replace a record that the sidecar requests again and again because it cannot read it: a `losses` record takes its
 * sequence number.
 */
function unstick(last) {
  stuck = { last, times: detachReason === 'gap' && last === stuck.last ? stuck.times + 1 : 0 }
  if (stuck.times < MAX_STUCK || unacked[0]?.seq !== last + 1) return
  const framed = frame(encode('losses', run, client, last + 1, { counts: { unreadable: 1 }, source: client }))
  Atomics.add(held, 0, framed.length - unacked[0].framed.length)
  unacked[0] = { seq: last + 1, framed }
  parentPort.postMessage({ lost: 'unreadable' })
}

function message(kind, body) {
  return encode(kind, run, client, 0, body)
}

async function pause(ms) {
  const until = Date.now() + ms
  while (!closing && Date.now() < until) await bell.wait(until - Date.now())
}

function warnOnce(about, text) {
  if (!warned.has(about)) parentPort.postMessage({ warning: text })
  warned.add(about)
}
