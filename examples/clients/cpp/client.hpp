// The implementation of Run: the state shared by callers and the background thread, and that thread, which owns the
// sockets.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <thread>

#include <zmq.hpp>

#include "queue.hpp"
#include "tracker.hpp"
#include "wire.hpp"

namespace tracker {

using Clock = std::chrono::steady_clock;
using Moment = Clock::time_point;

constexpr Milliseconds kTick{5};
constexpr Milliseconds kSilence{2000};
constexpr Milliseconds kLongestSilence{16000};
constexpr int kMaxRepeatedRequests = 3;  // requests of the sidecar for the same record before it is replaced

inline std::string random_id(std::size_t length) {
    static constexpr char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    std::random_device device;
    std::uniform_int_distribution<std::size_t> pick(0, sizeof letters - 2);
    std::string id;
    while (id.size() < length) id += letters[pick(device)];
    return id;
}

inline std::string host_name() {
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) != 0) return "";
    return name;
}

// The machine on which this process's id is valid.
inline std::string place() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string boot;
    char link[256];
    const ssize_t length = readlink("/proc/self/ns/pid", link, sizeof link);
    if (!std::getline(file, boot) || length < 0) return host_name();
    return boot + "/" + std::string(link, static_cast<std::size_t>(length));
}

// Replaces the host `*` of an endpoint by the host of the control socket.
inline std::string reachable(const std::string& endpoint, const std::string& door) {
    static const std::string any = "tcp://*:";
    if (endpoint.compare(0, any.size(), any) != 0 || door.compare(0, 6, "tcp://") != 0) return endpoint;
    return door.substr(0, door.rfind(':') + 1) + endpoint.substr(any.size());
}

inline void put_text(Map& map, const char* key, const std::string& text) {
    if (!text.empty()) map[key] = text;
}

inline void flatten(const Map& data, const std::string& prefix, Map& out) {
    for (const auto& [name, value] : data) {
        const std::string key = prefix + name;
        if (name.empty()) throw std::invalid_argument("a metric key must not be empty");
        if (const Map* inner = value.as<Map>(); inner != nullptr && value["_type"].text().empty()) {
            flatten(*inner, key + ".", out);
        } else if (value.is_nil() || value.as<List>() != nullptr) {
            throw std::invalid_argument("metric '" + key + "' is " + (value.is_nil() ? "nil" : "a list") +
                                        "; log a number, a boolean or a string");
        } else {
            out[key] = value;
        }
    }
}

struct Request {
    const char* ask;
    std::uint64_t wanted;  // the sequence number that must be durable before the answer
    bool sent = false;
    std::optional<Value> answer;
};

class Run::Client {
public:
    explicit Client(Options options)
        : options_(std::move(options)), id_(random_id(12)), queue_(options_.run, id_, options_.memory_bytes) {}

    ~Client() { stop(); }

    void start() {
        thread_ = std::thread([this] { run(); });
        std::unique_lock lock(mutex_);
        const Moment deadline = Clock::now() + options_.attach_timeout;
        while (!attached_once_ && !failure_ && changed_.wait_until(lock, deadline) != std::cv_status::timeout) {
        }
        if (failure_) std::rethrow_exception(failure_);
        if (!attached_once_) {
            throw Error("cannot attach at " + options_.door + " within " +
                        std::to_string(options_.attach_timeout.count() / 1000) + " s" +
                        (last_refusal_.empty() ? why_silent() : ": " + last_refusal_));
        }
    }

    void stop() {
        stopping_ = true;
        if (thread_.joinable()) thread_.join();
    }

    void add(const char* kind, const Map& body, bool is_final = false) {
        const std::string encoded = encode_body(body);
        std::lock_guard lock(mutex_);
        if (failure_ || leaving_) {
            queue_.lose(failure_ ? "refused" : "after finish");
            return;
        }
        queue_.add(kind, encoded, is_final);
    }

    void log(std::optional<std::int64_t> step, const Map& data) {
        Map flat;
        flatten(data, "", flat);
        const std::string signature = row_signature(flat);
        std::unique_lock lock(mutex_);
        const std::int64_t chosen = step.value_or(next_step_);
        if (chosen >= next_step_ && chosen < std::numeric_limits<std::int64_t>::max()) next_step_ = chosen + 1;
        if (!failure_ && !leaving_ && queue_.add_row(signature, chosen, flat)) return;
        lock.unlock();
        add("log", {{"step", chosen}, {"data", std::move(flat)}});
    }

    // Send a request, and wait for the answer, which comes once all queued records are durable.
    Value ask(const char* what, Moment deadline) {
        std::unique_lock lock(mutex_);
        const std::uint64_t number = ++last_request_;
        Request& request = requests_[number];
        request.ask = what;
        request.wanted = queue_.last();
        changed_.wait_until(lock, deadline, [&] { return request.answer || failure_; });
        const std::optional<Value> answer = std::move(request.answer);
        requests_.erase(number);
        if (answer) {
            if (const std::string& error = (*answer)["error"].text(); !error.empty()) throw Error(error);
            return *answer;
        }
        if (failure_) std::rethrow_exception(failure_);
        std::ostringstream text;
        text << "the sidecar at " << options_.door << " has not answered in time; " << queue_.waiting()
             << " records of run " << options_.run << " are not known to be durable";
        throw Error(text.str());
    }

    Value finish(Map exit, Moment deadline) {
        {
            std::lock_guard lock(mutex_);
            if (finished_) return last_state_;
            finished_ = true;
            queue_.report_losses();
        }
        add("exit", exit, true);
        Value answer;
        std::exception_ptr error;
        try {
            answer = ask("state", deadline);
        } catch (const Error&) {
            error = std::current_exception();
        }
        leaving_ = true;  // the thread sends `detach` and ends
        if (error) stopping_ = true;
        if (thread_.joinable()) thread_.join();
        std::lock_guard lock(mutex_);
        last_state_ = answer["state"];
        if (error && queue_.waiting() > 0) queue_.lose("not delivered", queue_.waiting());
        for (const auto& [reason, count] : queue_.losses()) {
            std::cerr << "tracker: " << count << " records of run " << options_.run << " were lost: " << reason << "\n";
        }
        if (problems_ > 0) {
            std::cerr << "tracker: the sidecar rejected " << problems_ << " records of run " << options_.run
                      << "\n";
        }
        if (error) std::rethrow_exception(error);
        return last_state_;
    }

    bool finished() {
        std::lock_guard lock(mutex_);
        return finished_;
    }

    std::map<std::string, std::uint64_t> losses() {
        std::lock_guard lock(mutex_);
        return queue_.losses();
    }

    const Options& options() const { return options_; }

private:
    // The functions below are called by the thread only; no other thread uses a socket.

    void run() {
        try {
            while (!stopping_ && !leaving_) {
                if (!records_ && !attach()) continue;
                send_records();
                send_requests();
                send_beat();
                take_results();
                notice_silence();
            }
            if (leaving_ && !stopping_ && records_) {
                // The detach message is not queued: give it time to be sent.
                records_->set(zmq::sockopt::linger, 1000);
                send_unnumbered("detach", {});
            }
        } catch (const std::exception&) {
            fail(std::current_exception());
        }
        disconnect();
    }

    void fail(std::exception_ptr error) {
        std::lock_guard lock(mutex_);
        failure_ = std::move(error);
        changed_.notify_all();
    }

    std::string why_silent() const {
        return options_.server_key.empty() ? ": is it running?" : ": is it running, and is this its key?";
    }

    void pause(Milliseconds time) {
        const Moment end = Clock::now() + time;
        while (!stopping_ && Clock::now() < end) std::this_thread::sleep_for(std::min(time, Milliseconds{20}));
    }

    zmq::socket_t connect(zmq::socket_type type, const std::string& endpoint) {
        zmq::socket_t socket(context_, type);
        socket.set(zmq::sockopt::linger, 0);
        socket.set(zmq::sockopt::sndhwm, 64);
        if (!options_.server_key.empty()) {
            socket.set(zmq::sockopt::curve_serverkey, options_.server_key);
            socket.set(zmq::sockopt::curve_publickey, options_.public_key);
            socket.set(zmq::sockopt::curve_secretkey, options_.secret_key);
        }
        socket.connect(endpoint);
        return socket;
    }

    void disconnect() {
        records_.reset();
        results_.reset();
    }

    // Attach or reattach; false: retry.
    bool attach() {
        Map body{{"protocol", kProtocol}, {"pid", static_cast<std::int64_t>(getpid())}, {"place", place()}};
        put_text(body, "label", options_.label);
        put_text(body, "resume", options_.resume);
        if (attached_once_) body["again"] = true;
        zmq::socket_t door = connect(zmq::socket_type::dealer, options_.door);
        const std::string asked = encode_record("attach", options_.run, id_, 0, encode_body(body), false);
        door.send(zmq::buffer(asked), zmq::send_flags::dontwait);
        const Moment end = Clock::now() + kSilence;
        while (!stopping_ && Clock::now() < end) {
            zmq::pollitem_t item{door.handle(), 0, ZMQ_POLLIN, 0};
            zmq::poll(&item, 1, Milliseconds{20});
            zmq::message_t message;
            if (!door.recv(message, zmq::recv_flags::dontwait)) continue;
            const std::optional<Result> result = decode_result(message.to_string_view());
            if (!result) continue;
            if (result->kind == "attached") {
                welcomed(result->body);
                return true;
            }
            if (result->kind == "refused") {
                refused(result->body);
                return false;
            }
        }
        if (!stopping_ && attached_once_ && !outage_reported_) {
            outage_reported_ = true;
            std::cerr << "tracker: the sidecar at " << options_.door
                      << " does not answer; records are kept in memory\n";
        }
        return false;
    }

    void welcomed(const Value& body) {
        if (body["protocol"].integer() != kProtocol) {
            throw Error("the sidecar speaks protocol version " + std::to_string(body["protocol"].integer()) +
                        ", this client version 1");
        }
        const auto last = static_cast<std::uint64_t>(body["last"].integer());
        records_.emplace(connect(zmq::socket_type::push, reachable(body["records"].text(), options_.door)));
        results_.emplace(connect(zmq::socket_type::pull, reachable(body["results"].text(), options_.door)));
        std::lock_guard lock(mutex_);
        if (last < queue_.durable()) {
            throw Error("the sidecar has lost records " + std::to_string(last + 1) + " to " +
                        std::to_string(queue_.durable()) + " of run " + options_.run + ", which it had acked");
        }
        if (last > queue_.durable()) progress();
        queue_.acked(last);
        queue_.send_again();
        const auto* rows = body["rows"].as<bool>();
        queue_.take_rows(rows != nullptr && *rows && !schema_refused_);
        declared_ = 0;
        for (auto& [number, request] : requests_) request.sent = false;
        waiting_since_ = heard_ = beat_ = Clock::now();
        refusals_ = 0;
        if (outage_reported_) std::cerr << "tracker: reattached to " << options_.door << "\n";
        outage_reported_ = false;
        attached_once_ = true;
        changed_.notify_all();
    }

    void refused(const Value& body) {
        const std::string code = body["code"].text();
        const std::string text = "the sidecar at " + options_.door + " refused run " + options_.run + " (" + code +
                                 "): " + body["message"].text();
        {
            std::lock_guard lock(mutex_);
            last_refusal_ = text;
        }
        // Temporary refusals: the run is being closed, or another sidecar is about to release it.
        if (refusals_ == 0) refused_since_ = Clock::now();
        const bool passes = code == "closing" ||
                            (code == "elsewhere" && (attached_once_ || Clock::now() - refused_since_ < kSilence)) ||
                            (code == "storage" && attached_once_);
        if (!passes) throw Refused(code, text);
        pause(code == "closing" ? Milliseconds{20} : Milliseconds{100 << std::min(refusals_, 4)});
        ++refusals_;
    }

    bool push(const std::string& message) {
        return records_->send(zmq::buffer(message), zmq::send_flags::dontwait).has_value();
    }

    bool send_unnumbered(const char* kind, const Map& body) {
        const bool taken = push(encode_record(kind, options_.run, id_, 0, encode_body(body), false));
        if (taken) beat_ = Clock::now();
        return taken;
    }

    void waits() {
        if (!waiting_) waiting_since_ = Clock::now();
        waiting_ = true;
    }

    void send_records() {
        for (;;) {
            std::size_t count = 0;
            std::unique_lock lock(mutex_);
            const std::string message = queue_.batch(count);
            const std::vector<Schema> schemas = queue_.schemas_from(declared_);
            lock.unlock();
            if (count == 0 || !declare(schemas) || !push(message)) return;
            beat_ = Clock::now();
            waits();
            lock.lock();
            queue_.sent(count, message.size());
        }
    }

    bool declare(const std::vector<Schema>& schemas) {
        for (const Schema& schema : schemas) {
            if (!send_unnumbered("schema", schema.body())) return false;
            ++declared_;
        }
        return true;
    }

    void send_requests() {
        std::lock_guard lock(mutex_);
        for (auto& [number, request] : requests_) {
            if (request.sent || request.answer || !queue_.all_sent_up_to(request.wanted)) continue;
            request.sent = send_unnumbered("request", {{"id", number}, {"ask", request.ask}});
            if (request.sent) waits();
        }
    }

    void send_beat() {
        if (Clock::now() - beat_ >= std::chrono::seconds(1)) {
            beat_ = Clock::now();
            send_unnumbered("beat", {});
        }
    }

    void take_results() {
        zmq::pollitem_t item{results_->handle(), 0, ZMQ_POLLIN, 0};
        zmq::poll(&item, 1, kTick);
        zmq::message_t message;
        while (results_ && results_->recv(message, zmq::recv_flags::dontwait)) {
            const std::optional<Result> result = decode_result(message.to_string_view());
            if (!result) continue;
            heard_ = Clock::now();
            // Another client's result: we were considered dead, and our port was reassigned.
            if (result->client != id_) {
                disconnect();
                return;
            }
            take(*result);
        }
    }

    void take(const Result& result) {
        const auto seq = static_cast<std::uint64_t>(std::max<std::int64_t>(result.body["seq"].integer(), 0));
        std::lock_guard lock(mutex_);
        if (result.kind == "ack" || result.kind == "answer") {
            if (seq > queue_.durable()) progress();
            queue_.acked(seq);
        }
        if (result.kind == "answer") {
            const auto request = requests_.find(static_cast<std::uint64_t>(result.body["id"].integer()));
            if (request == requests_.end()) return;
            if (seq < request->second.wanted) {
                request->second.sent = false;  // records were missing: ask again after they are resent
            } else {
                progress();
                request->second.answer = result.body;
                changed_.notify_all();
            }
        } else if (result.kind == "reattach") {
            missing(static_cast<std::uint64_t>(std::max<std::int64_t>(result.body["expected"].integer(), 0)));
        } else if (result.kind == "problem") {
            if (problems_++ < 5) {
                std::cerr << "tracker: record " << seq << ": " << result.body["message"].text() << "\n";
            }
            if (seq == 0 && queue_.takes_rows()) {  // a schema was refused: send the rows as `log` records
                schema_refused_ = true;
                disconnect();
            }
        }
        waiting_ = waiting_ && (queue_.in_flight() || asked());
    }

    void missing(std::uint64_t expected) {
        if (expected <= queue_.durable()) return;  // sent before we reattached
        times_expected_ = expected == expected_ ? times_expected_ + 1 : 1;
        expected_ = expected;
        if (times_expected_ >= kMaxRepeatedRequests) {
            queue_.give_up(expected);
            times_expected_ = 0;
        }
        disconnect();
    }

    bool asked() const {
        return std::any_of(requests_.begin(), requests_.end(),
                           [](const auto& item) { return item.second.sent && !item.second.answer; });
    }

    void progress() { patience_ = kSilence; }

    void notice_silence() {
        if (!waiting_ || Clock::now() - std::max(heard_, waiting_since_) < patience_) return;
        patience_ = std::min(patience_ * 2, kLongestSilence);
        disconnect();
    }

    const Options options_;
    const std::string id_;
    std::thread thread_;
    std::atomic<bool> stopping_{false};
    std::atomic<bool> leaving_{false};
    std::atomic<bool> attached_once_{false};

    // Shared with the callers, guarded by the lock.
    std::mutex mutex_;
    std::condition_variable changed_;
    Queue queue_;
    std::map<std::uint64_t, Request> requests_;
    std::uint64_t last_request_ = 0;
    std::exception_ptr failure_;
    std::string last_refusal_;
    std::int64_t next_step_ = 0;
    std::uint64_t problems_ = 0;
    bool finished_ = false;
    Value last_state_;

    // Used by the thread only.
    zmq::context_t context_{1};
    std::optional<zmq::socket_t> records_;
    std::optional<zmq::socket_t> results_;
    Moment heard_;                       // time of the last result
    Moment beat_;                        // time of the last send
    bool waiting_ = false;               // something sent is not acked or answered yet
    Moment waiting_since_;
    Milliseconds patience_ = kSilence;
    std::size_t declared_ = 0;           // number of schemas that this connection knows
    bool schema_refused_ = false;
    std::uint64_t expected_ = 0;
    int times_expected_ = 0;
    int refusals_ = 0;
    Moment refused_since_;
    bool outage_reported_ = false;
};

}  // namespace tracker
