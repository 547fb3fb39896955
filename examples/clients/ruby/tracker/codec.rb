# frozen_string_literal: true

require "msgpack"
require "zlib"

module Tracker
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
end
