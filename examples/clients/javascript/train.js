// Trains a small model and logs it: logistic regression by gradient descent on two clouds of points.
//
//   TRACKER_SIDECAR=tcp://127.0.0.1:5757 ./train [--run ID] [--steps N]
'use strict'

const { parseArgs } = require('node:util')
const { init } = require('./tracker')

const POINTS = 200
const LEARNING_RATE = 0.5

/** Reproducible random numbers (mulberry32, public domain, by Tommy Ettinger). */
function randomNumbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Two clouds around (-1, -1) and (1, 1): {x, y, label}. */
function clouds(random) {
  const scatter = () => random() + random() + random() - 1.5
  return Array.from({ length: POINTS }, (_, i) => {
    const label = i % 2
    const center = label ? 1 : -1
    return { x: center + 1.5 * scatter(), y: center + 1.5 * scatter(), label }
  })
}

async function main() {
  const { values } = parseArgs({
    options: { door: { type: 'string' }, run: { type: 'string' }, steps: { type: 'string', default: '100' } },
  })
  const steps = Number(values.steps)
  const points = clouds(randomNumbers(7))
  const run = await init({
    sidecar: values.door,
    id: values.run,
    project: 'clients',
    config: { model: 'logistic regression', lr: LEARNING_RATE, steps, points: POINTS },
  })
  run.define('loss', { summary: ['min'], goal: 'minimize' })
  run.define('accuracy', { summary: ['max'], goal: 'maximize' })

  let [a, b, c] = [0, 0, 0]
  for (let step = 0; step < steps; step++) {
    let [loss, correct, da, db, dc] = [0, 0, 0, 0, 0]
    for (const { x, y, label } of points) {
      const guess = 1 / (1 + Math.exp(-(a * x + b * y + c)))
      loss -= Math.log(label ? guess : 1 - guess)
      correct += guess > 0.5 === (label === 1)
      da += (guess - label) * x
      db += (guess - label) * y
      dc += guess - label
    }
    a -= (LEARNING_RATE * da) / POINTS
    b -= (LEARNING_RATE * db) / POINTS
    c -= (LEARNING_RATE * dc) / POINTS
    run.log({ loss: loss / POINTS, accuracy: correct / POINTS, weight: { a, b, c } }, step)
  }
  const state = await run.finish()
  console.log(`run ${run.id}: loss ${state.summary.loss}, accuracy ${state.summary.accuracy}`)
}

main().catch((error) => {
  console.error(`train: ${error.message}`)
  process.exit(1)
})
