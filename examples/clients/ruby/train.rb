# frozen_string_literal: true

# Trains a small model and logs it: linear regression by gradient descent on noisy points of a plane.
#
#   TRACKER_SIDECAR=tcp://127.0.0.1:5757 ./train [--run ID] [--steps N]

require "optparse"
require_relative "tracker"

POINTS = 200
LEARNING_RATE = 0.2

# Points [x, y, z] of z = 3x - 2y + 1, with some noise.
def points
  random = Random.new(7)
  Array.new(POINTS) do
    x, y = random.rand(-1.0..1.0), random.rand(-1.0..1.0)
    [x, y, (3 * x) - (2 * y) + 1 + random.rand(-0.1..0.1)]
  end
end

options = { steps: 100 }
OptionParser.new do |parser|
  parser.on("--door ENDPOINT")
  parser.on("--run ID")
  parser.on("--steps N", Integer)
end.parse!(into: options)

sidecar = options[:door] ? { sidecar: options[:door] } : {}
config = { model: "linear regression", lr: LEARNING_RATE, steps: options[:steps], points: POINTS }
begin
  Tracker.init(id: options[:run], project: "clients", config: config, **sidecar) do |run|
    run.define("loss", summary: ["min"], goal: "minimize")
    a = b = c = 0.0
    data = points
    options[:steps].times do |step|
      errors = data.map { |x, y, z| (a * x) + (b * y) + c - z }
      loss = errors.sum { |error| error**2 } / POINTS
      run.log({ loss: loss, weight: { a: a, b: b, c: c } }, step: step)
      a -= LEARNING_RATE * 2 * data.zip(errors).sum { |(x, _, _), error| error * x } / POINTS
      b -= LEARNING_RATE * 2 * data.zip(errors).sum { |(_, y, _), error| error * y } / POINTS
      c -= LEARNING_RATE * 2 * errors.sum / POINTS
    end
    puts format("run %s: z = %.2fx %+.2fy %+.2f", run.id, a, b, c)
  end
rescue Tracker::Error => error
  warn("train: #{error.message}")
  exit(1)
end
