// Encodes and decodes the protocol: plain data, records, frames. Does not know about sockets, threads or timeouts.
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

// The part of a record from the sidecar that a client needs.
struct Result {
    std::string kind;
    std::string client;
    Value body;
};

double unix_time();

// A body as msgpack. Throws std::invalid_argument if it is too deep.
std::string encode_body(const Map& body);

// A record with an encoded body, framed or bare.
std::string encode_record(const char* kind, const std::string& run, const std::string& client, std::uint64_t seq,
                          std::string_view body, bool framed);

// A bare record of the sidecar; nothing if it is invalid, since clients ignore invalid records.
std::optional<Result> decode_result(std::string_view message);

}  // namespace tracker
