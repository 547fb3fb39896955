#include "tracker.hpp"

#include <cstdlib>
#include <exception>
#include <iostream>

#include "client.hpp"

namespace tracker {
namespace {

// Checks the keys; all sockets of this client share one pair.
void make_keys(Options& options) {
    if (options.server_key.empty()) return;
    if (options.public_key.empty()) {
        char public_key[41], secret_key[41];
        if (zmq_curve_keypair(public_key, secret_key) != 0) throw Error("this libzmq was built without CURVE");
        options.public_key = public_key;
        options.secret_key = secret_key;
    }
    for (const std::string* key : {&options.server_key, &options.public_key, &options.secret_key}) {
        if (key->size() != 40) throw Error("a key must have 40 characters, not " + std::to_string(key->size()));
    }
}

}  // namespace

Run::Run(std::unique_ptr<Client> client) : client_(std::move(client)) {}
Run::Run(Run&&) noexcept = default;

Run Run::init(Options options) {
    const char* endpoint = std::getenv("TRACKER_SIDECAR");
    if (options.door.empty() && endpoint != nullptr) options.door = endpoint;
    if (options.door.find("://") == std::string::npos) {
        throw Error("'" + options.door + "' is not an endpoint; it must be one such as tcp://127.0.0.1:5757");
    }
    if (options.run.empty()) options.run = random_id(8);
    make_keys(options);
    Map body{{"start_time", unix_time()},
             {"pid", static_cast<std::int64_t>(getpid())},
             {"python", "C++ " + std::to_string(__cplusplus / 100 % 100)}};
    put_text(body, "host", host_name());
    put_text(body, "project", options.project);
    put_text(body, "name", options.name);
    put_text(body, "group", options.group);
    put_text(body, "label", options.label);
    put_text(body, "program", options.program);
    auto client = std::make_unique<Client>(std::move(options));
    client->start();
    client->add("run", body);
    return Run(std::move(client));
}

Run::~Run() {
    if (!client_ || client_->finished()) return;
    try {
        const bool failing = std::uncaught_exceptions() > 0;
        client_->finish({{"state", failing ? "failed" : "finished"}}, Clock::now() + std::chrono::seconds(10));
    } catch (const std::exception& error) {
        std::cerr << "tracker: " << error.what() << "\n";
    }
}

const std::string& Run::id() const { return client_->options().run; }
void Run::log(const Map& data) { client_->log({}, data); }
void Run::log(std::int64_t step, const Map& data) { client_->log(step, data); }
void Run::config(const Map& set) { client_->add("config", {{"set", set}}); }
void Run::summary(const Map& set) { client_->add("summary", {{"set", set}}); }

void Run::define(const std::string& metric, Map how) {
    how["metric"] = metric;
    client_->add("define", how);
}

void Run::flush(Milliseconds timeout) { client_->ask("flush", Clock::now() + timeout); }

Value Run::state(Milliseconds timeout) {
    return client_->ask("state", Clock::now() + timeout)["state"];
}

Value Run::finish(int exit_code, Milliseconds timeout) {
    const Map exit{{"state", exit_code == 0 ? "finished" : "failed"}, {"exit_code", exit_code}};
    return client_->finish(exit, Clock::now() + timeout);
}

std::map<std::string, std::uint64_t> Run::losses() const { return client_->losses(); }

}  // namespace tracker
