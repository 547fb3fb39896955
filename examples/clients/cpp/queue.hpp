// The queue of unacked records. Does not know about sockets or threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "wire.hpp"

namespace tracker {

constexpr std::size_t kInFlightBytes = 4u << 20;   // sent and not acked
constexpr std::size_t kBatchBytes = 256u << 10;    // maximum size of a message
constexpr std::size_t kEntryBytes = 96;            // overhead of a queued record
constexpr std::size_t kReservedBytes = 64u << 10;  // for the final records of a run when the memory is full

// Records with a sequence number that are not acked yet. The owner of the queue does the locking.
class Queue {
public:
    Queue(std::string run, std::string client, std::size_t bound_bytes)
        : run_(std::move(run)), client_(std::move(client)), bound_bytes_(bound_bytes) {}

    // Numbers, encodes and queues a record, or counts it as lost.
    void add(const char* kind, std::string_view body, bool is_final = false) {
        if (!is_final) report_losses_if_there_is_room();
        std::string frame = encode_record(kind, run_, client_, last_ + 1, body, true);
        if (frame.size() - kHeadBytes > kMaxRecordBytes) {
            throw std::invalid_argument("a '" + std::string(kind) + "' record has " +
                                        std::to_string(frame.size() - kHeadBytes) +
                                        " bytes; at most 8388608 are allowed");
        }
        push_if_it_fits(std::move(frame), bound_bytes_ + (is_final ? kReservedBytes : 0));
    }

    // Like add() for metrics as a row; false if they must be a `log` record.
    bool add_row(const std::string& signature, std::int64_t step, const Map& data) {
        const Schema* schema = takes_rows_ && !signature.empty() ? find_schema(signature, data) : nullptr;
        if (schema == nullptr) return false;
        report_losses_if_there_is_room();
        push_if_it_fits(encode_row(*schema, last_ + 1, step, data), bound_bytes_);
        return true;
    }

    // Whether metrics may be rows from now on; if not, the rows in the queue become `log` records.
    void take_rows(bool takes_rows) {
        takes_rows_ = takes_rows;
        if (takes_rows) return;
        for (std::string& frame : frames_) {
            if (const auto id = schema_of_row(frame)) {
                bytes_ -= frame.size();
                frame = row_as_log(schema_with(*id), run_, client_, frame);
                bytes_ += frame.size();
            }
        }
    }

    void lose(const std::string& reason, std::uint64_t count = 1) { counts_[reason] += count; }

    // Queue a `losses` record if there are losses that were not reported yet.
    void report_losses() {
        if (counts_ == reported_) return;
        reported_ = counts_;
        push(encode_record("losses", run_, client_, last_ + 1, encode_body(losses_body()), true));
    }

    // Drops the records up to `seq`, which are durable.
    void acked(std::uint64_t seq) {
        while (!frames_.empty() && acked_ < seq) {
            bytes_ -= frames_.front().size() + kEntryBytes;
            if (sent_ > 0) {
                --sent_;
                in_flight_bytes_ -= frames_.front().size();
            }
            frames_.pop_front();
            ++acked_;
        }
    }

    // The next message: as many records as fit, in order; empty if there is nothing to send now.
    std::string batch(std::size_t& count) const {
        std::string message;
        count = 0;
        for (std::size_t i = sent_; i < frames_.size(); ++i) {
            const std::size_t more = message.size() + frames_[i].size();
            if (count > 0 && more > kBatchBytes) break;
            if (in_flight_bytes_ > 0 && in_flight_bytes_ + more > kInFlightBytes) break;
            message += frames_[i];
            ++count;
        }
        return message;
    }

    void sent(std::size_t count, std::size_t bytes) {
        sent_ += count;
        in_flight_bytes_ += bytes;
    }

    void send_again() {
        sent_ = 0;
        in_flight_bytes_ = 0;
    }

    // Replace a record that the sidecar cannot read by a `losses` record.
    void give_up(std::uint64_t seq) {
        if (seq <= acked_ || seq > last_) return;
        lose("unreadable");
        reported_ = counts_;
        std::string& frame = frames_[seq - acked_ - 1];
        bytes_ -= frame.size();
        frame = encode_record("losses", run_, client_, seq, encode_body(losses_body()), true);
        bytes_ += frame.size();
    }

    // The schemas of the rows so far, in the order of their creation; none if rows are not taken.
    std::vector<Schema> schemas_from(std::size_t start) const {
        if (!takes_rows_) return {};
        return {schemas_.begin() + static_cast<std::ptrdiff_t>(start), schemas_.end()};
    }

    bool takes_rows() const { return takes_rows_; }
    std::uint64_t last() const { return last_; }
    std::uint64_t durable() const { return acked_; }
    bool in_flight() const { return sent_ > 0; }
    bool all_sent_up_to(std::uint64_t seq) const { return acked_ + sent_ >= seq; }
    std::size_t waiting() const { return frames_.size(); }
    const std::map<std::string, std::uint64_t>& losses() const { return counts_; }

private:
    Map losses_body() const {
        Map counts;
        for (const auto& [reason, count] : counts_) counts[reason] = count;
        return {{"counts", counts}, {"source", client_}};
    }

    // The schema for metrics, a new one if necessary; null if there are too many.
    const Schema* find_schema(const std::string& signature, const Map& data) {
        const auto known = schema_by_signature_.find(signature);
        if (known != schema_by_signature_.end()) return &schemas_[known->second];
        if (schemas_.size() >= kMaxSchemas || schema_keys_ + data.size() > kMaxSchemaKeys) return nullptr;
        schema_by_signature_[signature] = schemas_.size();
        schema_keys_ += data.size();
        schemas_.push_back(make_schema(data));
        return &schemas_.back();
    }

    const Schema& schema_with(std::uint64_t id) const {
        return *std::find_if(schemas_.begin(), schemas_.end(), [id](const Schema& schema) { return schema.id == id; });
    }

    void report_losses_if_there_is_room() {
        if (bytes_ < bound_bytes_ / 2) report_losses();
    }

    void push_if_it_fits(std::string frame, std::size_t bound) {
        if (bytes_ + frame.size() + kEntryBytes > bound) {
            lose("memory full");
        } else {
            push(std::move(frame));
        }
    }

    void push(std::string frame) {
        bytes_ += frame.size() + kEntryBytes;
        frames_.push_back(std::move(frame));
        ++last_;
    }

    const std::string run_;
    const std::string client_;
    const std::size_t bound_bytes_;
    std::deque<std::string> frames_;  // the records and rows acked_ + 1 to last_, framed
    bool takes_rows_ = false;
    std::vector<Schema> schemas_;
    std::unordered_map<std::string, std::size_t> schema_by_signature_;
    std::size_t schema_keys_ = 0;
    std::size_t bytes_ = 0;
    std::size_t sent_ = 0;            // number of them that are sent, from the front
    std::size_t in_flight_bytes_ = 0;
    std::uint64_t acked_ = 0;
    std::uint64_t last_ = 0;
    std::map<std::string, std::uint64_t> counts_;
    std::map<std::string, std::uint64_t> reported_;
};

}  // namespace tracker
