// The sub-commands of `tenon`: each adds itself to the command line and returns an exit status.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"

namespace tenon::tool {

// What the chosen sub-command will do; set by its callback while the line is parsed.
using Action = std::function<Status()>;

// JSON as it is printed. Names come from the user's model: what is no UTF-8 in them is replaced.
std::string to_text(const nlohmann::json& json);

void add_compile(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_check(CLI::App& app, Action& action);
void add_run(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_diff(CLI::App& app, Action& action);
void add_targets(CLI::App& app, Action& action);
void add_device_test(CLI::App& app, Action& action);
void add_devices(CLI::App& app, Action& action);
void add_predict(CLI::App& app, Action& action);
void add_emit(CLI::App& app, Action& action);
void add_new_op(CLI::App& app, Action& action);
void add_import(CLI::App& app, Action& action);
void add_opt(CLI::App& app, Action& action);
void add_dump(CLI::App& app, Action& action);
void add_bisect(CLI::App& app, Action& action);
void add_reduce(CLI::App& app, Action& action);
void add_docs(CLI::App& app, Action& action);

}  // namespace tenon::tool
