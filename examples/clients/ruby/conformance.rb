# frozen_string_literal: true

# The program that the conformance kit runs; see `python -m tests.tools.conformance --help`.

require "optparse"
require_relative "tracker"

def main(options)
  steps = options[:steps]
  run = Tracker.init(sidecar: options[:door], id: options[:run], label: options[:label], project: options[:project])
  run.config(lr: 0.1, steps: steps, optimizer: { name: "adam", betas: [0.9, 0.999] }, unicode: "größe ✓",
             nothing: nil, flag: true)
  run.define("acc", summary: ["max"], goal: "maximize")
  steps.times do |i|
    data = { loss: 1.0 / (i + 1), acc: i * 0.25, count: i * 1_000_003, odd: i.odd? }
    data[:note] = "step #{i}" if (i % 10).zero?
    data[:wild] = [Float::NAN, Float::INFINITY, -Float::INFINITY][i % 3]
    run.log(data, step: i)
    sleep(options[:interval] / 1000.0) if options[:interval].positive?
  end
  run.summary(best: 1.0 / steps)
  run.flush
  best = run.finish(exit_code: 0, timeout: 300)["summary"]["best"]
  raise "the summary says best = #{best}" unless best == 1.0 / steps
end

options = { interval: 0.0 }
OptionParser.new do |parser|
  parser.on("--door ENDPOINT")
  parser.on("--run ID")
  parser.on("--steps N", Integer)
  parser.on("--interval MS", Float)
  parser.on("--label L")
  parser.on("--project P")
end.parse!(into: options)

begin
  main(options)
rescue StandardError => error
  code = "#{error.code}: " if error.is_a?(Tracker::Error)
  warn("conformance: #{code}#{error.message}")
  exit(1)
end
