# frozen_string_literal: true

require "ffi-rzmq"
require "monitor"

module Tracker
  # Keeps records until they are acked, and owns the thread with the sockets: it attaches, sends, takes acks, and
  # attaches again when that is needed. Knows nothing of metrics.
  class Sender
    SILENCE = 2.0 # seconds without a word, with something to be said, after which we attach again
    BEAT = 1.0
    PAUSE_MS = 10 # between two looks at what is new, so that small records share a message
    LONGEST_DELAY = 2.0
    MAX_FLIGHT_BYTES = 4 << 20 # sent and not acked
    MAX_MESSAGE_BYTES = 256 << 10
    MAX_STUCK = 5 # so many attachments in a row may end over the same number; then another record takes it
    FATAL = %w[protocol client run exists missing kind encoding form size depth].freeze

    Kept = Struct.new(:seq, :frame)
    Question = Struct.new(:id, :ask, :after, :asked, :answer)

    # The door said no.
    class Refused < Error
      attr_reader :where

      def initialize(body)
        super(body["code"], body["message"])
        @where = body["where"]
      end
    end

    def initialize(place, run, client, attach, max_bytes)
      @place = place
      @run = run
      @client = client
      @attach = attach
      @max_bytes = max_bytes
      @lock = Monitor.new # guards all that follows, up to the blank line
      @changed = @lock.new_cond
      @kept = [] # the oldest first
      @held = 0 # their bytes
      @seq = 0
      @acked = 0
      @sent = 0 # how many of @kept are sent on this attachment
      @flight = 0 # their bytes
      @questions = {}
      @asked = 0
      @losses = Hash.new(0)
      @losses_said = true
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

        unless @losses_said
          @losses_said = true
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
      @lock.synchronize { wait(timeout, "no sidecar answers at #{@place}") { @attached } }
    end

    # Ask when all that was put is sent; return the body of the answer.
    def ask(what, timeout)
      @lock.synchronize do
        question = Question.new(@asked += 1, what, @seq, false, nil)
        @questions[question.id] = question
        explain = "the sidecar at #{@place} did not answer '#{what}' in time; not all is acked"
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
        raise ArgumentError, "a '#{kind}' of #{record.bytesize} bytes; at most #{Codec::MAX_RECORD_BYTES}"
      end

      @seq += 1
      @kept << Kept.new(@seq, Codec.frame(record))
      @held += @kept.last.frame.bytesize
    end

    def lose(reason)
      Tracker.warn("records are not kept: #{reason}") unless @losses.key?(reason)
      @losses[reason] += 1
      @losses_said = false
      nil
    end

    # Wait, with the lock held, until the block gives something; return that.
    def wait(timeout, explain)
      deadline = timeout && (now + timeout)
      loop do
        raise @error if @error

        found = yield
        return found if found

        left = deadline ? deadline - now : 60.0
        raise Error.new("timeout", explain) if left <= 0

        @changed.wait(left)
      end
    end

    # -- the thread

    def run
      @context = ZMQ::Context.new
      delay = 0.02
      until @closing
        begin
          open(come_in)
          delay = 0.02
          serve
        rescue Refused => error
          delay = 0.02 if %w[closing elsewhere].include?(error.code)
          return stop(error) if refused_for_good?(error)
        rescue Error
          @elsewhere = nil # nobody answers, or it was said already: attach again
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

      warn_once(error.code, "the sidecar says: #{error.message}; trying again")
      false
    end

    # Ask at the door; return the body of "attached".
    def come_in
      @door, @keys = @place.find(@elsewhere)
      socket = new_socket(ZMQ::DEALER)
      socket.connect(@door)
      socket.send_string(message("attach", @attach.merge(again: @attached)), ZMQ::DONTWAIT)
      answer = receive(socket, SILENCE) or raise Error.new("timeout", "no sidecar answers at #{@door}")
      answer = Codec.decode(answer)
      raise Refused.new(answer.body) unless answer.kind == "attached"

      answer.body
    ensure
      socket&.close
    end

    # Connect new sockets, let go of what is durable, and be ready to send the rest.
    def open(attached)
      @records = new_socket(ZMQ::PUSH)
      @results = new_socket(ZMQ::PULL)
      @records.connect(reached(attached["records"]))
      @results.connect(reached(attached["results"]))
      @lock.synchronize do
        @sent = @flight = 0
        @questions.each_value { |question| question.asked = false }
        let_go(attached["last"])
        unstick(attached["last"])
        @attached = true
        @changed.broadcast
        missing = @kept.empty? ? 0 : @kept.first.seq - attached["last"] - 1
        warn_once("behind", "the sidecar has lost #{missing} records that it had kept") if missing.positive?
      end
      @heard = @spoke = now
    end

    # An endpoint with the host "*" is at the host where we reached the door.
    def reached(endpoint)
      host = @door[%r{\Atcp://(.*):\d+\z}, 1]
      host ? endpoint.sub("tcp://*:", "tcp://#{host}:") : endpoint
    end

    # Send and receive until this attachment is lost, or we are closing.
    def serve
      @lost = nil
      until @lost || @closing
        speak
        hear
        @lost ||= :silence if expecting? && now - @heard > SILENCE
      end
      say_goodbye unless @lost
    ensure
      @records.close
      @results.close
    end

    def say_goodbye
      @records.setsockopt(ZMQ::LINGER, 1000) # it is the last word, and nobody says it again
      @records.send_string(message("detach", {}), ZMQ::DONTWAIT)
    end

    def speak
      while (frames, count = next_frames)
        return unless say(frames)

        @lock.synchronize do
          @sent += count
          @flight += frames.bytesize
        end
      end
      next_questions.each do |question|
        return unless say(message("request", { id: question.id, ask: question.ask }))

        question.asked = true
      end
      say(message("beat", {})) if now - @spoke >= BEAT
    end

    # Send without waiting; false where the queue is full.
    def say(words)
      waiting = expecting?
      return false unless ZMQ::Util.resultcode_ok?(@records.send_string(words, ZMQ::DONTWAIT))

      @spoke = now
      @heard = @spoke unless waiting
      true
    end

    def next_frames
      @lock.synchronize do
        return if @sent >= @kept.length || @flight >= MAX_FLIGHT_BYTES

        size = 0
        frames = @kept[@sent..].take_while.with_index do |kept, index|
          size += kept.frame.bytesize
          index.zero? || size <= MAX_MESSAGE_BYTES
        end
        [frames.map(&:frame).join, frames.length]
      end
    end

    def next_questions
      @lock.synchronize do
        said = @sent.positive? ? @kept[@sent - 1].seq : @acked
        @questions.values.select { |question| !question.asked && !question.answer && question.after <= said }
      end
    end

    def expecting?
      @lock.synchronize { @sent.positive? || @questions.each_value.any?(&:asked) }
    end

    # Wait a moment for results, and take those that are there.
    def hear
      bytes = receive(@results, PAUSE_MS / 1000.0)
      while bytes
        @heard = now
        result = Codec.decode(bytes)
        if result.client != @client # another client's: we were considered gone, and our port is now its port
          @lost = :results
          return
        end
        case result.kind
        when "ack" then @lock.synchronize { let_go(result.body["seq"]) }
        when "answer" then on_answer(result.body)
        when "reattach" then @lost = :gap
        when "problem" then warn_once(result.body["code"], "a record was not used: #{result.body["message"]}")
        end
        bytes = receive(@results, 0)
      end
    end

    def on_answer(body)
      @lock.synchronize do
        let_go(body["seq"]) if body["seq"]
        question = @questions[body["id"]] or return
        if @acked < question.after
          @lost = :gap # answered too early: something was missing; attach and ask again
        else
          question.answer = body
          question.asked = false
          @changed.broadcast
        end
      end
    end

    def let_go(seq)
      while @kept.first && @kept.first.seq <= seq
        size = @kept.shift.frame.bytesize
        @held -= size
        next unless @sent.positive?

        @sent -= 1
        @flight -= size
      end
      @acked = [@acked, seq].max
    end

    # Notice a record that is asked for again and again: its bytes cannot be read, by damage or by a fault of ours.
    # Another record takes its number.
    def unstick(last)
      @stuck = [last, @lost == :gap && @stuck[0] == last ? @stuck[1] + 1 : 0]
      return if @stuck[1] < MAX_STUCK || @kept.first&.seq != last + 1

      lose("unreadable")
      old = @kept.first.frame
      @kept.first.frame = Codec.frame(Codec.encode("losses", @run, @client, last + 1,
                                                   { counts: @losses, source: @client }))
      @losses_said = true
      @held += @kept.first.frame.bytesize - old.bytesize
    end

    def message(kind, body)
      Codec.encode(kind, @run, @client, 0, body)
    end

    def new_socket(type)
      socket = @context.socket(type) or raise Error.new("closed", "no socket could be made")
      @keys.each { |option, key| socket.setsockopt(option, key) }
      socket.setsockopt(ZMQ::LINGER, 0)
      socket.setsockopt(ZMQ::SNDHWM, 64)
      socket.setsockopt(ZMQ::RCVHWM, 64)
      socket
    end

    # Return a message, nil if none comes in time. Not every message is one part at the door; the last one counts.
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
