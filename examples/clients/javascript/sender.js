// The thread that owns the sockets: it attaches, sends, takes acks, and attaches again when that is needed.
//
// It keeps every record until it is acked. Knows nothing of metrics: it moves bytes.
'use strict'

const fs = require('node:fs')
const { setTimeout: sleep } = require('node:timers/promises')
const { parentPort, workerData } = require('node:worker_threads')
const zmq = require('zeromq')
const { decode, encode, frame } = require('./tracker')

const { sidecar, sidecarKey, clientKey, run, client, attach, held } = workerData

const SILENCE_MS = 2000 // without a word for so long, with something to be said, we attach again
const BEAT_MS = 1000
const MAX_FLIGHT_BYTES = 4 << 20 // sent and not acked
const MAX_MESSAGE_BYTES = 256 << 10
const PAUSE_MS = 5 // between two messages, so that small records share one
const LONGEST_DELAY_MS = 2000
const MAX_STUCK = 5 // so many attachments in a row may end over the same number; then another record takes it

const FATAL = new Set(['protocol', 'client', 'run', 'exists', 'missing', 'kind', 'encoding', 'form', 'size', 'depth'])

/** Wakes who waits for it; a wake before the wait counts. */
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
const kept = [] // {seq, framed}, the oldest first
const questions = [] // {id, ask, after, asked}
let sent = 0 // how many of `kept` are sent on this attachment
let flight = 0 // their bytes
let heard = 0 // when something came last, or began to be expected
let spoke = 0
let acked = 0
let closing = false
let lost = null // why this attachment is no more; null while it is good
let elsewhere = null // the connection file of another sidecar that holds the run
let stuck = { last: -1, times: 0 }
const warned = new Set()
let pair = null // our own keys, the same for all three sockets

parentPort.on('message', (message) => {
  if (message.framed) kept.push({ seq: message.seq, framed: Buffer.from(message.framed) })
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
      const attached = await askToComeIn(again)
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
        warnOnce(error.code, `the sidecar says: ${error.message}; trying again`)
      } else {
        elsewhere = null
      }
      if (!closing) await pause(delay)
      delay = Math.min(2 * delay, LONGEST_DELAY_MS)
      continue
    }
    receive(sockets.results)
    await send(sockets.records)
    if (closing && !lost) {
      await sockets.records.send(message('detach', {})).catch(() => {})
      sockets.records.linger = 1000 // it is the last word, and nobody says it again
    }
    sockets.records.close()
    sockets.results.close()
  }
  parentPort.close()
}

/** Ask at the door; return the body of 'attached'. */
async function askToComeIn(again) {
  const { endpoint, security } = whereTheDoorIs()
  const door = new zmq.Dealer({ ...security, linger: 0, receiveTimeout: SILENCE_MS, sendTimeout: SILENCE_MS })
  try {
    door.connect(endpoint)
    await door.send(message('attach', { ...attach, again }))
    const { kind, body } = decode((await door.receive()).at(-1))
    if (kind !== 'attached') throw new Refused(body)
    return { ...body, security, host: new RegExp('^tcp://(.*):\\d+$').exec(endpoint)?.[1] }
  } finally {
    door.close()
  }
}

function whereTheDoorIs() {
  const place = elsewhere ?? sidecar
  const { door, public_key: told } = place.includes('://') ? { door: place } : readJson(place)
  const serverKey = sidecarKey ? readPublicKey(sidecarKey) : told
  return { endpoint: door, security: serverKey ? withKeys(serverKey) : {} }
}

const readJson = (path) => JSON.parse(fs.readFileSync(path, 'utf8'))
const readPublicKey = (keyOrFile) => (fs.existsSync(keyOrFile) ? readJson(keyOrFile).public_key : keyOrFile)

/** The options of a socket that encrypts. */
function withKeys(serverKey) {
  if (!pair) {
    const { public_key: publicKey, secret_key: secretKey } = clientKey ? readJson(clientKey) : {}
    pair = clientKey ? { publicKey, secretKey } : zmq.curveKeyPair()
  }
  return { curveServerKey: serverKey, curvePublicKey: pair.publicKey, curveSecretKey: pair.secretKey }
}

/** Connect new sockets, let go of what is durable, and be ready to send the rest. */
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
  letGo(last)
  unstick(last)
  lost = null
  heard = spoke = Date.now()
  if (kept.length && kept[0].seq > last + 1) {
    warnOnce('behind', `the sidecar has lost records ${last + 1} to ${kept[0].seq - 1} that it had kept`)
  }
  parentPort.postMessage({ attached: { version } })
  return sockets
}

/** Send until the attachment is lost, or all is said and we are closing. */
async function send(socket) {
  while (!lost && !closing) {
    const now = Date.now()
    const words = next(now)
    if (!words) {
      await bell.wait(100)
    } else if (await socket.send(words.message).then(() => true, () => false)) {
      if (!expecting()) heard = now
      spoke = now
      words.done()
      await sleep(PAUSE_MS)
    } else {
      await sleep(PAUSE_MS) // its queue is full
    }
    if (expecting() && Date.now() - heard > SILENCE_MS) lost = 'silence'
  }
}

const expecting = () => sent > 0 || questions.some((question) => question.asked)

/** The next message, and what to do once it is sent; null where there is nothing to say. */
function next(now) {
  if (sent < kept.length && flight < MAX_FLIGHT_BYTES) {
    let end = sent
    let size = 0
    do size += kept[end++].framed.length
    while (end < kept.length && size + kept[end].framed.length <= MAX_MESSAGE_BYTES)
    const frames = kept.slice(sent, end).map((record) => record.framed)
    const upTo = kept[end - 1].seq
    // An ack may come while the message is on its way, so places are found again by number.
    return {
      message: Buffer.concat(frames, size),
      done: () => {
        while (sent < kept.length && kept[sent].seq <= upTo) flight += kept[sent++].framed.length
      },
    }
  }
  const said = sent > 0 ? kept[sent - 1].seq : acked
  const question = questions.find(({ asked, after }) => !asked && after <= said)
  if (question) {
    const { id, ask } = question
    return { message: message('request', { id, ask }), done: () => (question.asked = true) }
  }
  if (now - spoke >= BEAT_MS) return { message: message('beat', {}), done: () => {} }
  return null
}

/** Take results until the socket is closed. */
async function receive(socket) {
  try {
    for await (const [bytes] of socket) {
      heard = Date.now()
      onResult(decode(bytes))
    }
  } catch {
    if (!socket.closed) lost = 'results' // what came cannot be read; attaching again is always right
  }
}

function onResult({ kind, client: receiver, body }) {
  if (receiver !== client) lost = 'results' // another client's: we were considered gone, and our port is now its port
  else if (kind === 'ack') letGo(body.seq)
  else if (kind === 'answer') onAnswer(body)
  else if (kind === 'reattach') lost = 'gap'
  else if (kind === 'problem') warnOnce(body.code, `a record was not used: ${body.message}`)
  bell.ring()
}

function onAnswer(body) {
  const found = questions.findIndex(({ id }) => id === body.id)
  if (found < 0) return
  if (body.seq !== undefined) letGo(body.seq)
  if (acked < questions[found].after) lost = 'gap' // answered too early: something was missing; ask again
  else {
    questions.splice(found, 1)
    parentPort.postMessage({ answer: body })
  }
}

function letGo(seq) {
  let count = 0
  let bytes = 0
  while (count < kept.length && kept[count].seq <= seq) {
    bytes += kept[count].framed.length
    if (count < sent) flight -= kept[count].framed.length
    count += 1
  }
  kept.splice(0, count)
  sent = Math.max(0, sent - count)
  acked = Math.max(acked, seq)
  Atomics.sub(held, 0, bytes)
}

/**
 * Notice a record that is asked for again and again: its bytes cannot be read, by damage or by a fault of ours.
 * Another record takes its number.
 */
function unstick(last) {
  stuck = { last, times: lost === 'gap' && last === stuck.last ? stuck.times + 1 : 0 }
  if (stuck.times < MAX_STUCK || kept[0]?.seq !== last + 1) return
  const framed = frame(encode('losses', run, client, last + 1, { counts: { unreadable: 1 }, source: client }))
  Atomics.add(held, 0, framed.length - kept[0].framed.length)
  kept[0] = { seq: last + 1, framed }
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
