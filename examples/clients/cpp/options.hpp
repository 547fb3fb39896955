// `--name value` pairs of a command line.
#pragma once

#include <map>
#include <stdexcept>
#include <string>

inline std::map<std::string, std::string> read_arguments(int count, char** values) {
    std::map<std::string, std::string> arguments;
    for (int i = 1; i < count; i += 2) {
        const std::string name = values[i];
        if (name.compare(0, 2, "--") != 0 || i + 1 == count) {
            throw std::invalid_argument("'" + name + "': arguments come as --name value");
        }
        arguments[name.substr(2)] = values[i + 1];
    }
    return arguments;
}

inline std::string need(const std::map<std::string, std::string>& arguments, const std::string& name) {
    const auto argument = arguments.find(name);
    if (argument == arguments.end()) throw std::invalid_argument("--" + name + " is missing");
    return argument->second;
}

inline std::string either(const std::map<std::string, std::string>& arguments, const std::string& name,
                          const std::string& otherwise) {
    const auto argument = arguments.find(name);
    return argument == arguments.end() ? otherwise : argument->second;
}
