// The program that the conformance kit runs: logs the agreed values, and checks the state that the sidecar returns.
//
//   conformance --door ENDPOINT --run ID --steps N --interval MS [--label L] [--notes no] [--project P]
#include <cmath>
#include <iostream>
#include <limits>
#include <thread>

#include "options.hpp"
#include "tracker.hpp"

using tracker::List;
using tracker::Map;
using tracker::Value;

namespace {

void check(bool right, const std::string& what) {
    if (!right) throw tracker::Error("the sidecar's state differs from the logged values: " + what);
}

void run(const std::map<std::string, std::string>& arguments) {
    const std::int64_t steps = std::stoll(need(arguments, "steps"));
    const tracker::Milliseconds interval{std::stoll(need(arguments, "interval"))};
    const bool notes = either(arguments, "notes", "yes") != "no";
    tracker::Options options;
    options.door = need(arguments, "door");
    options.run = need(arguments, "run");
    options.label = either(arguments, "label", "");
    options.project = either(arguments, "project", "conformance");
    options.program = "conformance";
    tracker::Run run = tracker::Run::init(options);

    run.config({{"lr", 0.1},
                {"steps", steps},
                {"optimizer", Map{{"name", "adam"}, {"betas", List{0.9, 0.999}}}},
                {"unicode", "größe ✓"},
                {"nothing", nullptr},
                {"flag", true}});
    run.define("acc", {{"summary", List{"max"}}, {"goal", "maximize"}});
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const double wild[] = {std::nan(""), infinity, -infinity};
    for (std::int64_t i = 0; i < steps; ++i) {
        Map data{{"loss", 1.0 / static_cast<double>(i + 1)},
                 {"acc", static_cast<double>(i) * 0.25},
                 {"count", i * 1000003},
                 {"odd", i % 2 == 1},
                 {"wild", wild[i % 3]}};
        if (notes && i % 10 == 0) data["note"] = "step " + std::to_string(i);
        run.log(i, data);
        std::this_thread::sleep_for(interval);
    }
    const double best = 1.0 / static_cast<double>(steps);
    run.summary({{"best", best}});
    run.flush();
    const Value summary = run.finish(0)["summary"];
    check(summary["best"].number() == best, "summary best");
    check(steps == 0 || summary["acc"].number() == static_cast<double>(steps - 1) * 0.25, "summary acc");
}

}  // namespace

int main(int count, char** values) {
    try {
        run(read_arguments(count, values));
    } catch (const std::exception& error) {
        std::cerr << "conformance: " << error.what() << "\n";
        return 1;
    }
}
