# frozen_string_literal: true

# The tracker for Ruby: Tracker.init, then log, then finish.
#
# log encodes a record and puts it into a list; a thread of its own (tracker/sender.rb) owns the sockets. So log never
# waits for the network. What the sidecar has not acked is kept in memory, up to a bound.

require "English"
require "ffi-rzmq"
require "json"
require "msgpack"
require "securerandom"
require "socket"
require "time"
require "zlib"

module Tracker
  # What goes wrong with a sidecar. +code+ is one of the door's, or "timeout", "sidecar", "closed".
  class Error < StandardError
    attr_reader :code

    def initialize(code, message)
      super(message)
      @code = code
    end
  end

  # Records as bytes, and bytes as records. No I/O, no state.
  module Codec
    MAX_RECORD_BYTES = 8_388_608
    MAX_KEY_CHARS = 512
    MAX_DEPTH = 16
    RESERVED = %w[_step _timestamp _label].freeze

    Record = Struct.new(:kind, :run, :client, :seq, :time, :body)

    module_function

    def encode(kind, run, client, seq, body, time = Time.now.to_f)
      MessagePack.pack([kind, run, client, seq, time, body])
    end

    # Put a record's bytes into a frame: 0xC1, three bytes of length, a CRC-32, the record.
    def frame(record)
      [0xC1000000 + record.bytesize, Zlib.crc32(record)].pack("NN") << record
    end

    def decode(bytes)
      Record.new(*MessagePack.unpack(bytes))
    end

    # Return a copy of +value+ that msgpack can say: keys are strings, symbols and times become strings.
    def plain(value, name, depth = 1)
      raise ArgumentError, "#{name} is nested more than #{MAX_DEPTH} levels deep" if depth > MAX_DEPTH

      case value
      when nil, true, false, Float then value
      when Integer then whole(value, name)
      when String, Symbol then text(value.to_s, name)
      when Time then value.iso8601(6)
      when Array then value.map.with_index { |item, index| plain(item, "#{name}[#{index}]", depth + 1) }
      when Hash then value.to_h { |key, item| [key.to_s, plain(item, "#{name}.#{key}", depth + 1)] }
      when Rational then value.to_f
      else raise TypeError, "#{name} is a #{value.class}; it takes nil, booleans, numbers, strings, arrays and hashes"
      end
    end

    # Return the metrics of one log, nested keys joined with dots.
    def metrics(data, prefix = "", found = {})
      raise TypeError, "log takes a Hash: log({ loss: 0.3 })" unless data.is_a?(Hash)

      data.each do |name, value|
        key = "#{prefix}#{name}"
        if value.is_a?(Hash) && !(value["_type"] || value[:_type])
          metrics(value, "#{key}.", found)
          next
        end
        check_key(key)
        if value.nil? || value.is_a?(Array)
          raise TypeError, "metric '#{key}' is #{value.nil? ? "nil" : "an Array"}; log a number, a boolean or a string"
        end

        value = value.dup.force_encoding(Encoding::UTF_8) if value.is_a?(String) && value.encoding == Encoding::BINARY
        found[key] = plain(value, "metric '#{key}'", 2)
      end
      found
    end

    def check_key(key)
      unless key.length.between?(1, MAX_KEY_CHARS)
        raise ArgumentError, "metric key #{key[0, 40].inspect} has #{key.length} characters; 1 to #{MAX_KEY_CHARS}"
      end
      raise ArgumentError, "metric key '#{key}' is reserved: every row has it by itself" if RESERVED.include?(key)
    end

    def whole(value, name)
      return value if value.between?(-(2**63), (2**64) - 1)

      raise ArgumentError, "#{name} is #{value}; integers have 64 bits"
    end

    def text(value, name)
      return value if value.encoding == Encoding::BINARY # bytes stay bytes
      raise ArgumentError, "#{name} is no valid #{value.encoding}" unless value.valid_encoding?

      value.encode(Encoding::UTF_8)
    end
  end

  # Where a sidecar is, and the keys to it. Reads files; makes no sockets.
  class Place
    def initialize(sidecar, sidecar_key, client_key)
      @sidecar = sidecar
      @sidecar_key = sidecar_key
      @client_key = client_key
    end

    def to_s
      @sidecar
    end

    # Return the door's endpoint, and the options with keys of every socket. A connection file is read anew each time.
    #
    # elsewhere:: another sidecar's connection file, which is to be looked at instead
    def find(elsewhere = nil)
      place = elsewhere || @sidecar
      file = place.include?("://") ? { "door" => place } : JSON.parse(File.read(place))
      server = @sidecar_key ? public_key : file["public_key"]
      [file.fetch("door"), server ? keys(server) : {}]
    rescue SystemCallError, JSON::ParserError, KeyError => error
      raise Error.new("timeout", "#{place}: #{error.message}")
    end

    private

    def public_key
      File.exist?(@sidecar_key) ? JSON.parse(File.read(@sidecar_key)).fetch("public_key") : @sidecar_key
    end

    # One pair for all three sockets, and as long as we live: it tells the sidecar who we are.
    def keys(server)
      @pair ||= @client_key ? JSON.parse(File.read(@client_key)).values_at("public_key", "secret_key") : ZMQ::Util.curve_keypair
      { ZMQ::CURVE_SERVERKEY => server, ZMQ::CURVE_PUBLICKEY => @pair[0], ZMQ::CURVE_SECRETKEY => @pair[1] }
    end
  end

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

require_relative "tracker/sender" # which stands on what is here
