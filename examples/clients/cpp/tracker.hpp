// A client of the sidecar's protocol, version 1 (sidecar/PROTOCOL.md). Programs include only this header.
//
// Run::log() and similar functions number, encode and queue a record, and return: they never wait for the network. One
// background thread owns the sockets. It sends records, receives acks, reattaches when necessary, and resends unacked
// records. Records that do not fit into the memory limit are dropped, counted and reported by finish().
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tracker {

struct Value;
using List = std::vector<Value>;
using Map = std::map<std::string, Value>;
using Milliseconds = std::chrono::milliseconds;

// Plain data: the values of a record's body, a configuration or a summary. A double is always a double on the wire,
// also 0.0 and 1.0; an integer is always an integer.
struct Value {
    std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, List, Map> data;

    Value(std::nullptr_t = nullptr) : data(nullptr) {}
    Value(const char* text) : data(std::string(text)) {}
    Value(std::string text) : data(std::move(text)) {}
    Value(List list) : data(std::move(list)) {}
    Value(Map map) : data(std::move(map)) {}

    // A boolean, an integer or a floating-point number. (A template, so that no pointer becomes a boolean.)
    template <typename T, std::enable_if_t<std::is_arithmetic_v<T>, int> = 0>
    Value(T number) : data(widest(number)) {}

    // This value as a list, a map, ...; null if it has another type.
    template <typename T>
    const T* as() const {
        return std::get_if<T>(&data);
    }

    // The value of this key; nil if the key is missing or this is not a map.
    const Value& operator[](const std::string& key) const&;
    Value operator[](const std::string& key) &&;  // a copy, since this object is a temporary

    bool is_nil() const { return as<std::nullptr_t>() != nullptr; }
    // The number as a double; NaN if this is not a number.
    double number() const;
    // The number as an integer; `otherwise` if this is not an integer.
    std::int64_t integer(std::int64_t otherwise = 0) const;
    // The text; empty if this is not a string.
    const std::string& text() const;

private:
    template <typename T>
    static auto widest(T number) {
        if constexpr (std::is_same_v<T, bool>) {
            return number;
        } else if constexpr (std::is_floating_point_v<T>) {
            return static_cast<double>(number);
        } else if constexpr (std::is_signed_v<T>) {
            return static_cast<std::int64_t>(number);
        } else {
            return static_cast<std::uint64_t>(number);
        }
    }
};

// An error of the tracker; the message is one line.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The sidecar refused: `code` is one of "Refusals" in PROTOCOL.md.
struct Refused : Error {
    Refused(std::string code_, const std::string& what) : Error(what), code(std::move(code_)) {}
    std::string code;
};

struct Options {
    std::string door;     // endpoint of the control socket; empty: the value of TRACKER_SIDECAR
    std::string run;      // the run's id; empty: a random one
    std::string project;  // this field and the next four are omitted if empty
    std::string name;
    std::string group;
    std::string label;    // name of this writer among several of one run
    std::string program;
    std::string resume;   // "allow", "must", "never"; empty: the run is new or still open
    std::size_t memory_bytes = 64u << 20;  // maximum size of unacked records in memory
    Milliseconds attach_timeout{30000};    // maximum wait of init() for a sidecar
    std::string server_key;  // the public key of an encrypting sidecar, in Z85; empty: no encryption
    std::string public_key;  // this client's own key pair, if the sidecar lists its clients; empty: a new pair
    std::string secret_key;
};

// One attachment of this process to one run. Its functions may be called from any thread. It does not survive fork().
class Run {
public:
    // Attaches. Throws Refused, or Error if no sidecar answers in time.
    static Run init(Options options);

    Run(Run&&) noexcept;
    // Without finish() the run is `failed` during exception handling, else `finished`. Waits 10 seconds at most.
    ~Run();

    const std::string& id() const;

    // Metrics of one step: numbers, booleans, strings; nested maps become keys with dots. Without a step it is the
    // largest step so far plus one. Throws std::invalid_argument for a value that cannot be a metric.
    void log(const Map& data);
    void log(std::int64_t step, const Map& data);

    void config(const Map& set);
    void summary(const Map& set);
    // Defines how a metric is summarized: {{"summary", List{"max"}}, {"goal", "maximize"}}.
    void define(const std::string& metric, Map how);

    // Waits until all records logged so far are durable. Throws Error after `timeout`.
    void flush(Milliseconds timeout = Milliseconds{120000});
    // The run's state, once all records logged so far are readable in the store.
    Value state(Milliseconds timeout = Milliseconds{120000});

    // Records the end state, waits until all records are readable in the store, detaches, and returns the final state.
    // Throws Error if some records are not durable after `timeout`; those are lost.
    Value finish(int exit_code = 0, Milliseconds timeout = Milliseconds{120000});

    // Number of lost records by reason.
    std::map<std::string, std::uint64_t> losses() const;

private:
    class Client;
    explicit Run(std::unique_ptr<Client> client);
    std::unique_ptr<Client> client_;
};

}  // namespace tracker
