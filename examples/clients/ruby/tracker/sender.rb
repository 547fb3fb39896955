# frozen_string_literal: true

require "ffi-rzmq"
require "monitor"

module Tracker
  # Keeps records until they are acked, and owns the thread with the sockets: it attaches, sends, receives acks, and
  # reattaches when necessary. Does not know about metrics.
  class Sender
    SILENCE = 2.0 # reattach after this time without a result while one is expected, in seconds
    BEAT = 1.0
    PAUSE_MS = 10 # between two sends, so that small records are batched
    LONGEST_DELAY = 2.0
    MAX_FLIGHT_BYTES = 4 << 20 # sent and not acked
    MAX_MESSAGE_BYTES = 256 << 10
    MAX_STUCK = 5 # consecutive reattaches because of the same record before it is replaced
    FATAL = %w[protocol client run exists missing kind encoding form size depth].freeze

    UnackedRecord = Struct.new(:seq, :frame)
    Question = Struct.new(:id, :ask, :after, :asked, :answer)

    # The sidecar refused the client.
    class Refused < Error
      attr_reader :where

      def initialize(body)
        super(body["code"], body["message"])
        @where = body["where"]
      end
    end

    def initialize(location, run, client, attach, max_bytes)
      @location = location
      @run = run
      @client = client
      @attach = attach
      @max_bytes = max_bytes
      @lock = Monitor.new # guards the variables up to the blank line
      @changed = @lock.new_cond
      @unacked = [] # the oldest first
      @held = 0 # their size in bytes
      @seq = 0
      @acked = 0
      @sent = 0 # number of records of @unacked sent on this attachment
      @flight = 0 # their size in bytes
      @questions = {}
      @asked = 0
      @losses = Hash.new(0)
      @losses_reported = true
      @attached = false
      @ended = false
      @closing = false
      @error = nil

      @elsewhere = nil
      @lost = nil
      @stuck = [-1, 0]
      @warned = {}
    end

    def start
      @thread = Thread.new { run }
      @thread.name = "tracker-sender"
      @thread.report_on_exception = false
    end

    # -- from any thread

    # Number a record and keep it; never waits.
    def put(kind, body)
      @lock.synchronize do
        return lose("after finish") if @ended
        return lose("stopped") if @error
        return lose("memory full") if @held > @max_bytes && kind != "exit"

        unless @losses_reported
          @losses_reported = true
          keep("losses", { counts: @losses, source: @client })
        end
        keep(kind, body)
        @ended = kind == "exit"
      end
      nil
    end

    def losses
      @lock.synchronize { @losses.dup }
    end

    def stopped?
      @lock.synchronize { @error != nil }
    end

    def wait_attached(timeout)
      @lock.synchronize { wait(timeout, "no sidecar answers at #{@location}") { @attached } }
    end

    # Send a request after all records queued so far; return the body of the answer.
    def ask(what, timeout)
      @lock.synchronize do
        question = Question.new(@asked += 1, what, @seq, false, nil)
        @questions[question.id] = question
        explain = "the sidecar at #{@location} did not answer '#{what}' in time; some records are not acked yet"
        wait(timeout, explain) { question.answer }
      ensure
        @questions.delete(question.id)
      end
    end

    def close
      @lock.synchronize { @closing = true }
      @thread.join
    end

    private

    def keep(kind, body)
      record = Codec.encode(kind, @run, @client, @seq + 1, body)
      if record.bytesize > Codec::MAX_RECORD_BYTES
        limit = "at most #{Codec::MAX_RECORD_BYTES} are allowed"
        raise ArgumentError, "a '#{kind}' record has #{record.bytesize} bytes; #{limit}"
      end

      @seq += 1
      @unacked << UnackedRecord.new(@seq, Codec.frame(record))
      @held += @unacked.last.frame.bytesize
    end

    def lose(reason)
      Tracker.warn("records are lost: #{reason}") unless @losses.key?(reason)
      @losses[reason] += 1
      @losses_reported = false
      nil
    end

    # Wait, with the lock held, until the block returns a true value; return that value.
    def wait(timeout, explain)
      deadline = timeout && (now + timeout)
      loop do
        raise @error if @error

        value = yield
        return value if value

        remaining = deadline ? deadline - now : 60.0
        raise Error.new("timeout", explain) if remaining <= 0

        @changed.wait(remaining)
      end
    end

    # -- the thread

    def run
      @context = ZMQ::Context.new
      delay = 0.02
      until @closing
        begin
          open(request_attach)
          delay = 0.02
          serve
        rescue Refused => error
          delay = 0.02 if %w[closing elsewhere].include?(error.code)
          return stop(error) if refused_for_good?(error)
        rescue Error
          @elsewhere = nil # no answer, or already reported: reattach
        end
        break if @closing

        sleep(delay)
        delay = [2 * delay, LONGEST_DELAY].min
      end
    rescue StandardError => error
      stop(Error.new("closed", "the sender failed: #{error.class}: #{error.message}"))
    ensure
      @context&.terminate
    end

    def stop(error)
      @lock.synchronize do
        @error = error
        @changed.broadcast
      end
    end

    def refused_for_good?(error)
      @elsewhere = error.code == "elsewhere" && !@elsewhere ? error.where : nil
      return true if FATAL.include?(error.code)
      return true if error.code == "storage" && !@attached

      warn_once(error.code, "the sidecar refused this client: #{error.message}; retrying")
      false
    end

    # Send an attach request to the control socket; return the body of "attached".
    def request_attach
      @endpoint, @keys = @location.find(@elsewhere)
      socket = new_socket(ZMQ::DEALER)
      socket.connect(@endpoint)
      socket.send_string(message("attach", @attach.merge(again: @attached)), ZMQ::DONTWAIT)
      answer = receive(socket, SILENCE) or raise Error.new("timeout", "no sidecar answers at #{@endpoint}")
      answer = Codec.decode(answer)
      raise Refused.new(answer.body) unless answer.kind == "attached"

      answer.body
    ensure
      socket&.close
    end

    # Connect new sockets, drop the durable records, and prepare to send the others.
    def open(attached)
      @records = new_socket(ZMQ::PUSH)
      @results = new_socket(ZMQ::PULL)
      @records.connect(reached(attached["records"]))
      @results.connect(reached(attached["results"]))
      @lock.synchronize do
        @sent = @flight = 0
        @questions.each_value { |question| question.asked = false }
        drop_acked(attached["last"])
        unstick(attached["last"])
        @attached = true
        @changed.broadcast
        missing = @unacked.empty? ? 0 : @unacked.first.seq - attached["last"] - 1
        warn_once("behind", "the sidecar has lost #{missing} records, which it had acked") if missing.positive?
      end
      @last_received = @last_sent = now
    end

    # Replace the host "*" of an endpoint by the host of the control socket.
    def reached(endpoint)
      host = @endpoint[%r{\Atcp://(.*):\d+\z}, 1]
      host ? endpoint.sub("tcp://*:", "tcp://#{host}:") : endpoint
    end

    # Send and receive until this attachment fails or the sender is closed.
    def serve
      @lost = nil
      until @lost || @closing
        send_pending
        receive_results
        @lost ||= :silence if expecting? && now - @last_received > SILENCE
      end
      send_detach unless @lost
    ensure
      @records.close
      @results.close
    end

    def send_detach
      @records.setsockopt(ZMQ::LINGER, 1000) # the detach record is sent only once
      @records.send_string(message("detach", {}), ZMQ::DONTWAIT)
    end

    def send_pending
      while (frames, count = next_frames)
        return unless try_send(frames)

        @lock.synchronize do
          @sent += count
          @flight += frames.bytesize
        end
      end
      next_questions.each do |question|
        return unless try_send(message("request", { id: question.id, ask: question.ask }))

        question.asked = true
      end
      try_send(message("beat", {})) if now - @last_sent >= BEAT
    end

    # Send without waiting; false if the queue is full.
    def try_send(bytes_to_send)
      waiting = expecting?
      return false unless ZMQ::Util.resultcode_ok?(@records.send_string(bytes_to_send, ZMQ::DONTWAIT))

      @last_sent = now
      @last_received = @last_sent unless waiting
      true
    end

    def next_frames
      @lock.synchronize do
        return if @sent >= @unacked.length || @flight >= MAX_FLIGHT_BYTES

        size = 0
        frames = @unacked[@sent..].take_while.with_index do |record, index|
          size += record.frame.bytesize
          index.zero? || size <= MAX_MESSAGE_BYTES
        end
        [frames.map(&:frame).join, frames.length]
      end
    end

    def next_questions
      @lock.synchronize do
        last_sent_seq = @sent.positive? ? @unacked[@sent - 1].seq : @acked
        @questions.values.select { |question| !question.asked && !question.answer && question.after <= last_sent_seq }
      end
    end

    def expecting?
      @lock.synchronize { @sent.positive? || @questions.each_value.any?(&:asked) }
    end

    # Wait briefly for results, and handle those that have arrived.
    def receive_results
      bytes = receive(@results, PAUSE_MS / 1000.0)
      while bytes
        @last_received = now
        result = Codec.decode(bytes)
        if result.client != @client # another client's result: we were considered dead, and our port was reassigned
          @lost = :results
          return
        end
        case result.kind
        when "ack" then @lock.synchronize { drop_acked(result.body["seq"]) }
        when "answer" then on_answer(result.body)
        when "reattach" then @lost = :gap
        when "problem" then warn_once(result.body["code"], "the sidecar rejected a record: #{result.body["message"]}")
        end
        bytes = receive(@results, 0)
      end
    end

    def on_answer(body)
      @lock.synchronize do
        drop_acked(body["seq"]) if body["seq"]
        question = @questions[body["id"]] or return
        if @acked < question.after
          @lost = :gap # answered before the records arrived: reattach and ask again
        else
          question.answer = body
          question.asked = false
          @changed.broadcast
        end
      end
    end

    def drop_acked(seq)
      while @unacked.first && @unacked.first.seq <= seq
        size = @unacked.shift.frame.bytesize
        @held -= size
        next unless @sent.positive?

        @sent -= 1
        @flight -= size
      end
      @acked = [@acked, seq].max
    end

    # Replace a record that the sidecar requests again and again because it cannot read it: a +losses+ record takes its
    # sequence number.
    def unstick(last)
      @stuck = [last, @lost == :gap && @stuck[0] == last ? @stuck[1] + 1 : 0]
      return if @stuck[1] < MAX_STUCK || @unacked.first&.seq != last + 1

      lose("unreadable")
      old = @unacked.first.frame
      @unacked.first.frame = Codec.frame(Codec.encode("losses", @run, @client, last + 1,
                                                   { counts: @losses, source: @client }))
      @losses_reported = true
      @held += @unacked.first.frame.bytesize - old.bytesize
    end

    def message(kind, body)
      Codec.encode(kind, @run, @client, 0, body)
    end

    def new_socket(type)
      socket = @context.socket(type) or raise Error.new("closed", "cannot create a socket")
      @keys.each { |option, key| socket.setsockopt(option, key) }
      socket.setsockopt(ZMQ::LINGER, 0)
      socket.setsockopt(ZMQ::SNDHWM, 64)
      socket.setsockopt(ZMQ::RCVHWM, 64)
      socket
    end

    # Return a message, or nil if none arrives in time.
    def receive(socket, seconds)
      if seconds.positive?
        poller = ZMQ::Poller.new
        poller.register_readable(socket)
        poller.poll((seconds * 1000).ceil)
      end
      bytes = +""
      return unless ZMQ::Util.resultcode_ok?(socket.recv_string(bytes, ZMQ::DONTWAIT))

      bytes
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    def warn_once(about, text)
      Tracker.warn(text) unless @warned[about]
      @warned[about] = true
    end
  end
end
