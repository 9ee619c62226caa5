#include "runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "compiler/compile.h"
#include "compiler/stored_layouts.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "runtime/model.h"

namespace tenon::data_tests {

bool Runner::wanted(const std::string& name) const {
  if (name.find(options_.filter) == std::string::npos) return false;
  // By the first two parts of a name: known.list counts what the cases of one op do.
  const std::string group = name.substr(0, name.find('/', name.find('/') + 1));
  return std::hash<std::string>{}(group) % options_.shards == options_.shard;
}

void Runner::run(const std::string& name, const std::function<Status()>& test) {
  if (!wanted(name)) return;
  const Status status = test();
  if (status.ok()) {
    ++passed_;
    return;
  }
  ++failed_;
  fmt::print("FAILED {}\n{}\n", name, status.error().to_string());
}

void Runner::skip(const std::string& name, const std::string& reason) {
  if (!wanted(name)) return;
  ++skipped_;
  fmt::print("skipped {}: {}\n", name, reason);
}

int Runner::finish() const {
  fmt::print("{} passed, {} failed, {} skipped\n", passed_, failed_, skipped_);
  return failed_ > 0 ? 1 : 0;
}

std::vector<std::string> files_in(const std::string& folder, const std::string& ending) {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::string(TENON_SOURCE_DIR) + "/tests/" + folder, error))
    if (entry.path().string().ends_with(ending)) paths.push_back(entry.path().string());
  std::ranges::sort(paths);
  return paths;
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

Result<std::vector<Tensor>> random_inputs(const Graph& graph, uint32_t seed) {
  std::vector<Tensor> inputs;
  uint32_t state = seed;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (const auto& input : graph.inputs()) {
    std::vector<int64_t> dims;
    for (const Dim d : input->shape().dims()) dims.push_back(d.size_or(dims.empty() ? 3 : 2));
    Tensor t = TRY(Tensor::zeros(input->dtype(), dims));
    for (int64_t i = 0; i < t.elements(); ++i) {
      if (t.dtype() == DType::f32)
        t.mutable_data<float>()[i] = static_cast<float>(next()) * 0x1p-23f - 1.0f;
      else if (t.dtype() == DType::i64)
        t.mutable_data<int64_t>()[i] = next() % 3;
      else if (t.dtype() == DType::i32)
        t.mutable_data<int32_t>()[i] = static_cast<int32_t>(next() % 3);
      else if (t.dtype() == DType::boolean)
        t.mutable_data<bool>()[i] = next() % 2 != 0;
    }
    inputs.push_back(std::move(t));
  }
  return inputs;
}

// A model file with the graph as its one function, weights as kernels read them.
static Result<Blob> file_of(const Graph& graph) {
  FileModel model;
  model.functions.push_back({"f", encode_graph(graph), {}, {}});
  choose_layouts(model.functions[0].graph, true);
  for (size_t i = 0; i < graph.inputs().size(); ++i)
    model.functions[0].input_names.push_back(fmt::format("x{}", i));
  for (size_t i = 0; i < graph.outputs().size(); ++i)
    model.functions[0].output_names.push_back(fmt::format("y{}", i));
  const auto bytes = TRY(encode_model(model));
  auto owner = allocate_aligned(bytes.size());
  std::memcpy(owner.get(), bytes.data(), bytes.size());
  return Blob{{owner.get(), bytes.size()}, owner};
}

// It is not in the file.
static void forget_where_constants_come_from(Graph& graph) {
  for (const auto& node : graph.nodes()) {
    if (node->is("const")) node->origins.clear();
    for (const auto& region : node->regions()) forget_where_constants_come_from(*region);
  }
}

Status check_round_trips(const Graph& graph) {
  const std::string text = print_graph(graph, TextForm::kFull);
  const auto parsed = TRY(parse_graph(text, "the printed graph"));
  if (const std::string again = print_graph(*parsed, TextForm::kFull); again != text)
    return internal_error(
        fmt::format("the text does not read back the same:\n{}\nbecomes\n{}", text, again));
  const FileModel read = TRY(read_model(TRY(file_of(graph))));
  auto decoded = TRY(decode_graph(read.functions[0].graph));
  decoded->stage = graph.stage;
  forget_where_constants_come_from(*parsed);
  const std::string expected = print_graph(*parsed, TextForm::kFull);
  if (const std::string again = print_graph(*decoded, TextForm::kFull); again != expected)
    return internal_error(
        fmt::format("the file does not read back the same:\n{}\nbecomes\n{}", expected, again));
  return {};
}

Result<std::vector<Tensor>> run_on_cpu(const Graph& graph, std::span<const Tensor> inputs) {
  const auto loaded = TRY(runtime::Model::load(TRY(file_of(graph)), {.threads = 2}));
  const auto function = TRY(loaded.function());
  return function.run(inputs, {});
}

Status expect_close(std::span<const Tensor> actual, std::span<const Tensor> expected,
                    double tolerance, const std::string& what) {
  if (actual.size() != expected.size())
    return internal_error(
        fmt::format("{}: {} results, {} were expected", what, actual.size(), expected.size()));
  for (size_t i = 0; i < expected.size(); ++i) {
    const Difference d = compare(actual[i], expected[i]);
    if (!d.within(tolerance))
      return internal_error(fmt::format("{}: result {}: {}", what, i, d.to_string()));
  }
  return {};
}

}  // namespace tenon::data_tests

int main(int argc, char** argv) {
  tenon::data_tests::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--bless")
      options.bless = true;
    else if (argument.starts_with("--random-graphs="))
      options.random_graphs =
          static_cast<uint32_t>(std::strtoul(argument.c_str() + 16, nullptr, 10));
    else if (std::sscanf(argument.c_str(), "--shard=%zu/%zu", &options.shard, &options.shards) ==
                 2 &&
             options.shard < options.shards)
      continue;
    else if (argument == "--help" || argument.starts_with("-"))
      return fmt::print(
                 "Usage: tenon_data_tests [--bless] [--random-graphs=N] [--shard=I/N] [WORD]\n"
                 "Runs the cases whose names hold the word; --bless rewrites what golden "
                 "tests expect; N random graphs are tried (default: 300); a shard is the Ith (from "
                 "0) "
                 "of N parts of the cases.\n"),
             argument == "--help" ? 0 : 2;
    else
      options.filter = argument;
  }
  tenon::data_tests::Runner runner(options);
  tenon::data_tests::run_op_cases(runner);
  tenon::data_tests::run_golden_cases(runner);
  tenon::data_tests::run_tf_op_cases(runner);
  tenon::data_tests::run_chip_products(runner);
  tenon::data_tests::run_chip_shapes(runner);
  tenon::data_tests::run_random_graphs(runner);
  return runner.finish();
}
