// Encodes and decodes the protocol: plain data, records, frames. Does not know about sockets, threads or timeouts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tracker.hpp"

namespace tracker {

constexpr int kProtocol = 1;
constexpr std::size_t kMaxRecordBytes = 8'388'608;
constexpr std::size_t kHeadBytes = 8;
constexpr std::size_t kMaxSchemas = 256;
constexpr std::size_t kMaxSchemaKeys = 50'000;

// The part of a record from the sidecar that a client needs.
struct Result {
    std::string kind;
    std::string client;
    Value body;
};

// The keys and types of rows: metrics that are packed without their names.
struct Schema {
    std::uint64_t id;
    std::vector<std::string> keys;
    std::string types;  // for each key 'd' (a double), 'q' (an integer) or '?' (a boolean)

    Map body() const;
};

double unix_time();

// A body as msgpack. Throws std::invalid_argument if it is too deep.
std::string encode_body(const Map& body);

// A record with an encoded body, framed or bare.
std::string encode_record(const char* kind, const std::string& run, const std::string& client, std::uint64_t seq,
                          std::string_view body, bool framed, double time = unix_time());

// The keys and types of metrics as a text; empty if the metrics cannot be a row.
std::string row_signature(const Map& data);

// A schema for metrics that can be a row.
Schema make_schema(const Map& data);

// Metrics as a row of their schema, framed.
std::string encode_row(const Schema& schema, std::uint64_t seq, std::int64_t step, const Map& data);

// The id of a framed row's schema; nothing if the frame holds a record.
std::optional<std::uint64_t> schema_of_row(std::string_view frame);

// The `log` record that a framed row stands for, framed.
std::string row_as_log(const Schema& schema, const std::string& run, const std::string& client,
                       std::string_view frame);

// A bare record of the sidecar; nothing if it is invalid, since clients ignore invalid records.
std::optional<Result> decode_result(std::string_view message);

}  // namespace tracker
