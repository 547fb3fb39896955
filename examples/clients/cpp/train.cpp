// Logistic regression by gradient descent on two clouds of generated points; all logged numbers are computed
// here.
//
//   train --door ENDPOINT --run ID [--steps N] [--server-key KEY]
#include <cmath>
#include <iostream>
#include <random>
#include <vector>

#include "options.hpp"
#include "tracker.hpp"

namespace {

constexpr unsigned kSeed = 7;
constexpr int kPoints = 400;
constexpr double kLearningRate = 0.5;

struct Point {
    double x, y;
    bool upper;
};

std::vector<Point> make_points() {
    std::mt19937 random(kSeed);
    std::normal_distribution<double> noise(0.0, 1.0);
    std::vector<Point> points;
    for (int i = 0; i < kPoints; ++i) {
        const bool upper = i % 2 == 1;
        const double centre = upper ? 1.0 : -1.0;
        const double x = centre + noise(random);
        const double y = centre + noise(random);
        points.push_back({x, y, upper});
    }
    return points;
}

struct Model {
    double wx = 0.0, wy = 0.0, bias = 0.0;

    double probability(const Point& point) const {
        return 1.0 / (1.0 + std::exp(-(wx * point.x + wy * point.y + bias)));
    }

    // One gradient step; returns the mean cross-entropy and the accuracy before it.
    std::pair<double, double> train(const std::vector<Point>& points) {
        double loss = 0.0, right = 0.0, dx = 0.0, dy = 0.0, db = 0.0;
        for (const Point& point : points) {
            const double p = probability(point);
            const double error = p - (point.upper ? 1.0 : 0.0);
            loss -= std::log(point.upper ? p : 1.0 - p);
            right += (p > 0.5) == point.upper ? 1.0 : 0.0;
            dx += error * point.x;
            dy += error * point.y;
            db += error;
        }
        const double count = static_cast<double>(points.size());
        wx -= kLearningRate * dx / count;
        wy -= kLearningRate * dy / count;
        bias -= kLearningRate * db / count;
        return {loss / count, right / count};
    }
};

void train(const std::map<std::string, std::string>& arguments) {
    const int steps = std::stoi(either(arguments, "steps", "200"));
    tracker::Options options;
    options.door = need(arguments, "door");
    options.run = need(arguments, "run");
    options.project = "clouds";
    options.name = "C++";
    options.program = "train.cpp";
    options.server_key = either(arguments, "server-key", "");
    tracker::Run run = tracker::Run::init(options);
    run.config({{"learning_rate", kLearningRate}, {"steps", steps}, {"points", kPoints}, {"seed", kSeed}});
    run.define("accuracy", {{"summary", tracker::List{"max"}}, {"goal", "maximize"}});

    const std::vector<Point> points = make_points();
    Model model;
    for (int step = 0; step < steps; ++step) {
        const auto [loss, accuracy] = model.train(points);
        run.log(step, {{"loss", loss}, {"accuracy", accuracy}});
    }
    const tracker::Value summary = run.finish()["summary"];
    std::cout << "run " << run.id() << ": loss " << summary["loss"].number() << ", accuracy "
              << summary["accuracy"].number() << " after " << steps << " steps\n";
}

}  // namespace

int main(int count, char** values) {
    try {
        train(read_arguments(count, values));
    } catch (const std::exception& error) {
        std::cerr << "train: " << error.what() << "\n";
        return 1;
    }
}
