// The bytes of the protocol: plain data, records, frames. Knows nothing of sockets, threads or time-outs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "tracker.hpp"

namespace tracker {

constexpr int kProtocol = 1;
constexpr std::size_t kMaxRecordBytes = 8'388'608;
constexpr std::size_t kHeadBytes = 8;

// What a client needs of a record that the sidecar sends.
struct Result {
    std::string kind;
    std::string client;
    Value body;
};

double unix_time();

// A body as msgpack. Throws std::invalid_argument if it is too deep.
std::string encode_body(const Map& body);

// A record with a body that is msgpack already, behind the head of a frame or bare.
std::string encode_record(const char* kind, const std::string& run, const std::string& client, std::uint64_t seq,
                          std::string_view body, bool framed);

// A bare record of the sidecar; nothing if it is none, since what is not understood is ignored.
std::optional<Result> decode_result(std::string_view message);

}  // namespace tracker
