# frozen_string_literal: true

require "ffi-rzmq"
require "json"

module Tracker
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
end
