// The command line. Exit status: 0 fine, 1 the model or its input, 2 usage, 3 environment, 70 our
// bug.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string_view>

#include "base/nearest.h"
#include "base/version.h"
#include "commands.h"

namespace {

// CLI11 would only say that a sub-command is required.
bool is_known_command(const CLI::App& app, std::string_view word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == word) return true;
    if (!command->get_group().empty()) names.push_back(command->get_name());
  }
  fmt::print(stderr, "tenon: there is no command '{}'{}\n  commands: {}\n", word,
             tenon::did_you_mean(word, names), fmt::join(names, ", "));
  return false;
}

// CLI11 lists what it did not expect in any order, and knows no near names.
int unknown_option(const CLI::App& app, const CLI::ExtrasError& error) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands()[0];
  std::vector<std::string> names;
  for (const CLI::Option* option : command->get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  for (const std::string& extra : command->remaining()) {
    if (!extra.starts_with("-")) continue;
    const std::string typed = extra.substr(0, extra.find('='));
    fmt::print(stderr, "tenon: there is no option '{}'{}\nRun with --help for more information.\n",
               typed, tenon::did_you_mean(typed, names));
    return 2;
  }
  app.exit(error);
  return 2;
}

}  // namespace

std::string tenon::tool::to_text(const nlohmann::json& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

int main(int argc, char** argv) {
  CLI::App app{"Compiles trained TensorFlow and ONNX models into one .tenon file and runs it.",
               "tenon"};
  app.set_version_flag("--version", fmt::format("tenon {}", tenon::version()));
  app.require_subcommand(1);
  app.footer(
      "Example:\n  tenon compile saved_model -o model.tenon\n"
      "  tenon run model.tenon --input images=images.npy --output-dir out");
  tenon::tool::Action action;
  tenon::tool::add_compile(app, action);
  tenon::tool::add_quantize(app, action);
  tenon::tool::add_check(app, action);
  tenon::tool::add_run(app, action);
  tenon::tool::add_bench(app, action);
  tenon::tool::add_inspect(app, action);
  tenon::tool::add_explain(app, action);
  tenon::tool::add_diff(app, action);
  tenon::tool::add_targets(app, action);
  tenon::tool::add_devices(app, action);
  tenon::tool::add_device_test(app, action);
  tenon::tool::add_predict(app, action);
  tenon::tool::add_emit(app, action);
  tenon::tool::add_new_op(app, action);
  tenon::tool::add_import(app, action);
  tenon::tool::add_opt(app, action);
  tenon::tool::add_dump(app, action);
  tenon::tool::add_bisect(app, action);
  tenon::tool::add_reduce(app, action);
  tenon::tool::add_docs(app, action);
  if (argc == 1) {
    fmt::print(stderr, "{}", app.help());
    return 2;
  }
  try {
    if (argv[1][0] != '-' && !is_known_command(app, argv[1])) return 2;
    app.parse(argc, argv);
    const tenon::Status status = action();
    if (status.ok()) return 0;
    std::fprintf(stderr, "tenon: %s\n", status.error().to_string().c_str());
    return tenon::exit_status(status.error().code);
  } catch (const CLI::ExtrasError& error) {
    return unknown_option(app, error);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::bad_alloc&) {
    std::fputs("tenon: resource_exhausted: out of memory\n", stderr);
    return tenon::exit_status(tenon::Code::resource_exhausted);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "tenon: internal: %s\n", error.what());
    return 70;
  }
}
