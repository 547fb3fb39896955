// The program that the conformance kit runs; see `python -m tests.tools.conformance --help`.
'use strict'

const { parseArgs } = require('node:util')
const { setTimeout: sleep } = require('node:timers/promises')
const { init } = require('./tracker')

async function main() {
  const text = { type: 'string' }
  const { values } = parseArgs({
    options: { door: text, run: text, steps: text, interval: text, label: text, project: text },
  })
  const steps = Number(values.steps)
  const run = await init({ sidecar: values.door, id: values.run, label: values.label, project: values.project })
  run.config({
    lr: 0.1,
    steps,
    optimizer: { name: 'adam', betas: [0.9, 0.999] },
    unicode: 'größe ✓',
    nothing: null,
    flag: true,
  })
  run.define('acc', { summary: ['max'], goal: 'maximize' })
  for (let i = 0; i < steps; i++) {
    const data = { loss: 1 / (i + 1), acc: i * 0.25, count: i * 1000003, odd: i % 2 === 1 }
    if (i % 10 === 0) data.note = `step ${i}`
    data.wild = [NaN, Infinity, -Infinity][i % 3]
    run.log(data, i)
    if (values.interval > 0) await sleep(Number(values.interval))
  }
  run.summary({ best: 1 / steps })
  await run.flush()
  const state = await run.finish({ exitCode: 0, timeout: 300 })
  if (state.summary.best !== 1 / steps) throw new Error(`the summary says best = ${state.summary.best}`)
}

main().catch((error) => {
  console.error(`conformance: ${error.code ? `${error.code}: ` : ''}${error.message}`)
  process.exit(1)
})
