# frozen_string_literal: true

# The tracker client for Ruby: Tracker.init, then log, then finish.
#
# log encodes and queues a record; a background thread (tracker/sender.rb) owns the sockets. So log never waits for the
# network. Records are kept in memory, up to a limit, until the sidecar has acked them.

require "English"
require "ffi-rzmq"
require "json"
require "msgpack"
require "securerandom"
require "socket"
require "time"
require "zlib"

module Tracker
  # An error of the tracker. +code+ is a refusal code of PROTOCOL.md, "timeout", "sidecar", "storage" or "closed".
  class Error < StandardError
    attr_reader :code

    def initialize(code, message)
      super(message)
      @code = code
    end
  end

  # Encodes and decodes records. No I/O, no state.
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

    # Return a framed record: 0xC1, three bytes of length, a CRC-32, the record.
    def frame(record)
      [0xC1000000 + record.bytesize, Zlib.crc32(record)].pack("NN") << record
    end

    def decode(bytes)
      Record.new(*MessagePack.unpack(bytes))
    end

    # Return a copy of +value+ that msgpack can encode: keys, symbols and times become strings.
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
      else raise TypeError, "#{name} must be nil, a boolean, number, string, Array or Hash, not a #{value.class}"
      end
    end

    # Return the metrics of one log call, with nested keys joined by dots.
    def metrics(data, prefix = "", flat = {})
      raise TypeError, "log needs a Hash, such as log({ loss: 0.3 })" unless data.is_a?(Hash)

      data.each do |name, value|
        key = "#{prefix}#{name}"
        if value.is_a?(Hash) && !(value["_type"] || value[:_type])
          metrics(value, "#{key}.", flat)
          next
        end
        check_key(key)
        if value.nil? || value.is_a?(Array)
          raise TypeError, "metric '#{key}' is #{value.nil? ? "nil" : "an Array"}; log a number, a boolean or a string"
        end

        value = value.dup.force_encoding(Encoding::UTF_8) if value.is_a?(String) && value.encoding == Encoding::BINARY
        flat[key] = plain(value, "metric '#{key}'", 2)
      end
      flat
    end

    def check_key(key)
      unless key.length.between?(1, MAX_KEY_CHARS)
        start = key[0, 40].inspect
        raise ArgumentError, "metric key #{start} has #{key.length} characters; it must have 1 to #{MAX_KEY_CHARS}"
      end
      raise ArgumentError, "metric key '#{key}' is reserved; use another name" if RESERVED.include?(key)
    end

    def whole(value, name)
      return value if value.between?(-(2**63), (2**64) - 1)

      raise ArgumentError, "#{name} must be a 64-bit integer, not #{value}"
    end

    def text(value, name)
      return value if value.encoding == Encoding::BINARY # bytes stay bytes
      raise ArgumentError, "#{name} is not valid #{value.encoding}" unless value.valid_encoding?

      value.encode(Encoding::UTF_8)
    end
  end

  # The address of a sidecar and the keys for it. Reads files; creates no sockets.
  class SidecarLocation
    def initialize(sidecar, sidecar_key, client_key)
      @sidecar = sidecar
      @sidecar_key = sidecar_key
      @client_key = client_key
    end

    def to_s
      @sidecar
    end

    # Return the endpoint of the control socket, and the key options of sockets. Reads the connection file each time.
    #
    # elsewhere:: connection file of another sidecar, to use instead
    def find(elsewhere = nil)
      address = elsewhere || @sidecar
      file = address.include?("://") ? { "door" => address } : JSON.parse(File.read(address))
      server = @sidecar_key ? public_key : file["public_key"]
      [file.fetch("door"), server ? keys(server) : {}]
    rescue SystemCallError, JSON::ParserError, KeyError => error
      raise Error.new("timeout", "#{address}: #{error.message}")
    end

    private

    def public_key
      File.exist?(@sidecar_key) ? JSON.parse(File.read(@sidecar_key)).fetch("public_key") : @sidecar_key
    end

    # One key pair for all three sockets and for the whole process: it identifies this client.
    def keys(server)
      @pair ||= @client_key ? JSON.parse(File.read(@client_key)).values_at("public_key", "secret_key") : ZMQ::Util.curve_keypair
      { ZMQ::CURVE_SERVERKEY => server, ZMQ::CURVE_PUBLICKEY => @pair[0], ZMQ::CURVE_SECRETKEY => @pair[1] }
    end
  end

  # Start a run, and return it.
  #
  # Waits up to +patience+ seconds until the client is attached. If no sidecar answers, it prints one warning and
  # returns: records are then kept in memory, and sent once a sidecar answers.
  #
  # sidecar:: endpoint of the control socket, or path of a connection file; default: TRACKER_SIDECAR
  # sidecar_key:: the sidecar's public key, or a file that contains it, if the sidecar encrypts; default:
  #   TRACKER_SIDECAR_KEY
  # client_key:: a key file, if the sidecar lists its clients; default: TRACKER_CLIENT_KEY
  # id:: the run's id; default: eight random letters and digits
  # label:: name of this writer among several of one run
  # resume:: "allow", "must" or "never"
  # max_bytes:: maximum size of unacked records in memory; records beyond it are dropped and counted
  #
  # With a block: yields the run and finishes it, as failed if the block raises.
  #
  # Raises Error if the sidecar refuses the client.
  def self.init(patience: 5.0, **options)
    run = Run.new(**options)
    begin
      run.ready(timeout: patience)
    rescue Error => error
      raise unless error.code == "timeout"

      warn("no sidecar answers at #{run.sidecar} yet; records are kept in memory until one does")
    end
    return run unless block_given?

    begin
      result = yield run
      run.finish
      result
    rescue Exception => error # rubocop:disable Lint/RescueException - whatever ends the block ends the run
      run.finish(error: error)
      raise
    end
  end

  def self.warn(message)
    $stderr.puts("tracker: #{message}") unless ENV["TRACKER_SILENT"]
  end

  # One writer's view of a run. May be used by several threads.
  class Run
    attr_reader :id, :sidecar

    def initialize(sidecar: ENV["TRACKER_SIDECAR"], sidecar_key: ENV["TRACKER_SIDECAR_KEY"],
                   client_key: ENV["TRACKER_CLIENT_KEY"], id: nil, project: nil, name: nil, label: nil, resume: nil,
                   config: nil, max_bytes: 256 << 20)
      raise Error.new("sidecar", "no sidecar is given; pass sidecar: or set TRACKER_SIDECAR") unless sidecar

      @sidecar = sidecar
      @id = id || self.class.random_name(8)
      @step = 0
      @pid = Process.pid
      @finished = nil
      @lock = Mutex.new
      attach = { protocol: 1, pid: @pid, place: machine_id, label: label, resume: resume }
      location = SidecarLocation.new(sidecar, sidecar_key, client_key)
      @sender = Sender.new(location, @id, self.class.random_name(12), attach, max_bytes)
      about = { project: project, name: name, label: label, start_time: Time.now.to_f, host: host,
                pid: @pid, program: $PROGRAM_NAME, python: "Ruby #{RUBY_VERSION}" }
      @sender.put("run", readable(about.compact))
      self.config(config) if config
      @sender.start
      at_exit { finish_at_exit }
    end

    # Log metrics: numbers, booleans, strings, nested hashes. +step+ is one more than the last if it is not given.
    #
    # Raises TypeError or ArgumentError for invalid data; then nothing of this call is logged.
    def log(data, step: nil)
      metrics = Codec.metrics(data)
      raise TypeError, "step must be an Integer, not #{step.inspect}" unless step.nil? || step.is_a?(Integer)
      raise ArgumentError, "step must be a 64-bit integer, not #{step}" if step && !step.between?(-(2**63), (2**63) - 1)

      @lock.synchronize do
        step ||= @step
        @sender.put("log", { step: step, data: metrics })
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

    # Define how a metric (a key, or a pattern with '*') is summarized and drawn.
    def define(metric, summary: nil, goal: nil, step_metric: nil)
      @sender.put("define", { metric: metric, summary: summary, goal: goal, step_metric: step_metric }.compact)
    end

    # Number of lost records by reason.
    def losses
      @sender.losses
    end

    # Wait until the client is attached.
    def ready(timeout: nil)
      @sender.wait_attached(timeout)
    end

    # Wait until all logged records are durable.
    def flush(timeout: nil)
      @sender.ask("flush", timeout)
      nil
    end

    # Return the run's state, once all logged records are durable and readable.
    def state(timeout: nil)
      answer = @sender.ask("state", timeout)
      raise Error.new("storage", answer["error"]) if answer["error"]

      answer["state"]
    end

    # End the run: record its end state, wait until all records are durable, and detach. Returns the run's state. May be
    # called twice.
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
        Tracker.warn("lost: #{lost.join(", ")}") unless lost.empty?
      end
    end

    def self.random_name(length)
      SecureRandom.alphanumeric(length).downcase
    end

    private

    # The machine on which this process's id is valid, as PROTOCOL.md defines it.
    def machine_id
      "#{File.read("/proc/sys/kernel/random/boot_id").strip}/#{File.readlink("/proc/self/ns/pid")}"
    rescue SystemCallError
      host
    end

    def host
      readable(host: Socket.gethostname)[:host]
    end

    # Strings from the system have the locale's encoding, or none.
    def readable(body)
      body.transform_values { |value| value.is_a?(String) ? value.dup.force_encoding(Encoding::UTF_8).scrub : value }
    end

    # A script that ends without finish finishes its run; a forked child has no run of its own.
    def finish_at_exit
      return if @finished || @sender.stopped? || Process.pid != @pid

      finish(error: $ERROR_INFO)
    rescue Error => error
      Tracker.warn(error.message)
    end
  end
end

require_relative "tracker/sender" # uses the classes above
