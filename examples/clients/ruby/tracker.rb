# frozen_string_literal: true

# The tracker for Ruby: Tracker.init, then log, then finish.
#
# log encodes a record and puts it into a list; a thread of its own (tracker/sender.rb) owns the sockets. So log never
# waits for the network. What the sidecar has not acked is kept in memory, up to a bound.

require "English"
require "securerandom"
require "socket"
require "time"
module Tracker
  # What goes wrong with a sidecar. +code+ is one of the door's, or "timeout", "sidecar", "closed".
  class Error < StandardError
    attr_reader :code

    def initialize(code, message)
      super(message)
      @code = code
    end
  end
end

require_relative "tracker/codec"
require_relative "tracker/place"
require_relative "tracker/sender"

module Tracker
  # Begin to track a run, and return it.
  #
  # Waits until the sidecar has let us in, at most +patience+ seconds. When nobody answers it warns once and goes on:
  # what is logged is kept in memory meanwhile, and sent when the sidecar is there.
  #
  # sidecar:: the door's endpoint or a connection file's path; default: TRACKER_SIDECAR
  # sidecar_key:: its public key, or a file with it, if it encrypts; default: TRACKER_SIDECAR_KEY
  # client_key:: a key file, if it lists its clients; default: TRACKER_CLIENT_KEY
  # id:: the run's id; default: eight random letters and digits
  # label:: names this writer, where several write to one run
  # resume:: "allow", "must" or "never"
  # max_bytes:: how much un-acked is kept in memory; what is over it is counted
  #
  # With a block: yields the run and finishes it, as failed if the block raises.
  #
  # Raises Error if the sidecar says no.
  def self.init(patience: 5.0, **options)
    run = Run.new(**options)
    begin
      run.ready(timeout: patience)
    rescue Error => error
      raise unless error.code == "timeout"

      warn("no sidecar answers at #{run.sidecar} yet; what is logged is kept in memory meanwhile")
    end
    return run unless block_given?

    begin
      found = yield run
      run.finish
      found
    rescue Exception => error # rubocop:disable Lint/RescueException - whatever ends the block ends the run
      run.finish(error: error)
      raise
    end
  end

  def self.warn(message)
    $stderr.puts("tracker: #{message}") unless ENV["TRACKER_SILENT"]
  end

  # One run, seen by one writer. May be used by several threads.
  class Run
    attr_reader :id, :sidecar

    def initialize(sidecar: ENV["TRACKER_SIDECAR"], sidecar_key: ENV["TRACKER_SIDECAR_KEY"],
                   client_key: ENV["TRACKER_CLIENT_KEY"], id: nil, project: nil, name: nil, label: nil, resume: nil,
                   config: nil, max_bytes: 256 << 20)
      raise Error.new("sidecar", "no sidecar: give sidecar: or set TRACKER_SIDECAR to a door or a file") unless sidecar

      @sidecar = sidecar
      @id = id || self.class.random_name(8)
      @step = 0
      @pid = Process.pid
      @finished = nil
      @lock = Mutex.new
      attach = { protocol: 1, pid: @pid, place: process_place, label: label, resume: resume }
      place = Place.new(sidecar, sidecar_key, client_key)
      @sender = Sender.new(place, @id, self.class.random_name(12), attach, max_bytes)
      about = { project: project, name: name, label: label, start_time: Time.now.to_f, host: host,
                pid: @pid, program: $PROGRAM_NAME, python: "Ruby #{RUBY_VERSION}" }
      @sender.put("run", readable(about.compact))
      self.config(config) if config
      @sender.start
      at_exit { finish_at_exit }
    end

    # Log metrics: numbers, booleans, strings, nested hashes. +step+ is one more than the last if it is not given.
    #
    # Raises TypeError or ArgumentError, naming what is wrong; then nothing of this call is logged.
    def log(data, step: nil)
      found = Codec.metrics(data)
      raise TypeError, "step #{step.inspect} is no Integer" unless step.nil? || step.is_a?(Integer)
      raise ArgumentError, "step #{step} has more than 64 bits" if step && !step.between?(-(2**63), (2**63) - 1)

      @lock.synchronize do
        step ||= @step
        @sender.put("log", { step: step, data: found })
        @step = step + 1
      end
      nil
    end

    # Set keys of the configuration.
    def config(values)
      @sender.put("config", { set: Codec.plain(values, "config") })
    end

    # Set keys of the summary.
    def summary(values)
      @sender.put("summary", { set: Codec.plain(values, "summary") })
    end

    # Say how a metric (a key, or a pattern with '*') is summed up and drawn.
    def define(metric, summary: nil, goal: nil, step_metric: nil)
      @sender.put("define", { metric: metric, summary: summary, goal: goal, step_metric: step_metric }.compact)
    end

    # What could not be kept: reason -> how many records.
    def losses
      @sender.losses
    end

    # Wait until the sidecar has let us in.
    def ready(timeout: nil)
      @sender.wait_attached(timeout)
    end

    # Wait until all that was logged is durable.
    def flush(timeout: nil)
      @sender.ask("flush", timeout)
      nil
    end

    # Return the run's state, once all that was logged is durable and readable.
    def state(timeout: nil)
      answer = @sender.ask("state", timeout)
      raise Error.new("storage", answer["error"]) if answer["error"]

      answer["state"]
    end

    # End the run: say how it ended, wait until all is durable, and leave. May be called twice. Returns the run's state.
    def finish(exit_code: nil, error: nil, timeout: 60.0)
      return @finished if @finished

      exit_code ||= error.is_a?(SystemExit) ? error.status : (error && 1).to_i
      body = { state: exit_code.zero? ? "finished" : "failed", exit_code: exit_code }
      body[:traceback] = error.full_message(highlight: false) if error && !error.is_a?(SystemExit)
      @sender.put("exit", readable(body))
      begin
        @finished = state(timeout: timeout)
      ensure
        @finished ||= {}
        @sender.close
        lost = losses.map { |reason, count| "#{count} records (#{reason})" }
        Tracker.warn("not kept: #{lost.join(", ")}") unless lost.empty?
      end
    end

    def self.random_name(length)
      SecureRandom.alphanumeric(length).downcase
    end

    private

    # Where this process's id is valid, as PROTOCOL.md says.
    def process_place
      "#{File.read("/proc/sys/kernel/random/boot_id").strip}/#{File.readlink("/proc/self/ns/pid")}"
    rescue SystemCallError
      host
    end

    def host
      readable(host: Socket.gethostname)[:host]
    end

    # What comes from the system is in the locale's encoding, or in none.
    def readable(body)
      body.transform_values { |value| value.is_a?(String) ? value.dup.force_encoding(Encoding::UTF_8).scrub : value }
    end

    # A script that just ends finishes its run; a child that was forked has none.
    def finish_at_exit
      return if @finished || @sender.stopped? || Process.pid != @pid

      finish(error: $ERROR_INFO)
    rescue Error => error
      Tracker.warn(error.message)
    end
  end
end
