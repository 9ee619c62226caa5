#include "verify/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "ir/interpret.h"
#include "ir/text.h"
#include "ops/custom.h"
#include "verify/layers.h"
#include "verify/sample_inputs.h"

namespace tenon {
namespace {

// Measured on reference evaluations: convolutions and products do about half a multiply-add per
// nanosecond, elementwise ops some hundred nanoseconds per element with all that belongs to it.
constexpr double kSecondsPerFlop = 2e-9, kSecondsPerElement = 1e-7;
// Loading the file: its weights are copied and packed.
constexpr double kSecondsPerWeightByte = 2e-9;
// How often a loop is taken to run where nobody knows.
constexpr double kIterations = 20;
// Rounding of f32 and how much further than it moves the outputs two correct builds may be apart.
constexpr double kNoise = 1e-6, kNoiseFactor = 30;
constexpr double kNarrowTolerance = 3e-2;  // of models that compute in 16 bits or fewer

double seconds_of(const Graph& graph) {
  double seconds = 0;
  for (const auto& node : graph.nodes()) {
    if (node->is("const")) {
      seconds += kSecondsPerWeightByte *
                 static_cast<double>(node->output()->type().byte_size().value_or(0));
      continue;
    }
    TensorTypes in, out;
    double elements = 0;
    const auto add = [&](const Value* v, TensorTypes& types) {
      types.push_back(v == nullptr ? TensorType() : v->type());
      if (v != nullptr && !v->type().is_list)
        elements += static_cast<double>(v->shape().elements().value_or(0));
    };
    for (const Value* v : node->inputs()) add(v, in);
    for (int i = 0; i < node->output_count(); ++i) add(node->output(i), out);
    const auto is_known = [](const TensorType& t) {
      return t.is_none() || (!t.is_list && t.shape.is_static());
    };
    double cost = kSecondsPerElement * elements;
    if (std::ranges::all_of(in, is_known) && std::ranges::all_of(out, is_known))
      cost += kSecondsPerFlop * static_cast<double>(node->op().flops(in, out));
    for (const auto& region : node->regions())
      cost += seconds_of(*region) * (node->is("while") ? kIterations : 1);
    seconds += cost;
  }
  return seconds;
}

bool draws_random_numbers(const Graph& graph) {
  return std::ranges::any_of(graph.nodes(), [](const auto& node) {
    return (node->def().has(kRandom) && !node->is("custom")) ||
           std::ranges::any_of(node->regions(),
                               [](const auto& region) { return draws_random_numbers(*region); });
  });
}

bool is_narrow(const Graph& graph) {
  const auto narrow = [](const Value* v) {
    return (is_float(v->dtype()) && dtype_size(v->dtype()) < 4) || v->dtype() == DType::i8 ||
           v->dtype() == DType::u8;
  };
  return std::ranges::any_of(graph.nodes(), [&](const auto& node) {
    for (int i = 0; i < node->output_count(); ++i)
      if (narrow(node->output(i))) return true;
    return std::ranges::any_of(node->regions(),
                               [](const auto& region) { return is_narrow(*region); });
  });
}

// Why the reference is not run without being asked for; empty where it may be.
std::string too_expensive(const Graph& graph, std::span<const Tensor> inputs,
                          const VerifyOptions& options) {
  const double seconds = options.always ? 0 : estimated_seconds(graph, inputs);
  if (seconds <= options.seconds) return {};
  return fmt::format("the reference would take about {:.1f} s; --verify does it all the same",
                     seconds);
}

// For the smallest inputs there are.
std::string too_expensive(const Graph& graph, const VerifyOptions& options) {
  std::vector<runtime::PortInfo> ports;
  for (const auto& input : graph.inputs()) ports.push_back({input->name, input->type()});
  const auto smallest = sample_inputs(ports, OpenSizes{1, 1});
  return smallest.ok() ? too_expensive(graph, *smallest, options) : std::string();
}

struct Inputs {
  std::vector<Tensor> tensors;
  std::string description;
  std::vector<Tensor> expected;
};

class Verifier {
 public:
  Verifier(const Graph& graph, const FileFunction& file, runtime::Function function,
           const VerifyOptions& options)
      : graph_(graph), file_(file), function_(std::move(function)), options_(options) {
    limits_.max_loop_iterations = 1'000'000;
    if (options.load.max_loop_iterations > 0)
      limits_.max_loop_iterations = options.load.max_loop_iterations;
  }

  Result<Verification> run();

 private:
  // Inputs the reference can be run on, with what it gives; or why there are none.
  Result<Inputs> find_inputs();
  Result<Inputs> try_inputs(std::vector<Tensor> tensors, std::string description);
  Result<std::vector<Tensor>> reference(std::span<const Tensor> inputs, double noise) const;
  // The inputs and what the variables begin with.
  std::vector<Tensor> with_variables(std::span<const Tensor> inputs) const;
  Status refuse(const Inputs& inputs, const std::string& what) const;

  const Graph& graph_;
  const FileFunction& file_;
  runtime::Function function_;
  const VerifyOptions& options_;
  InterpretOptions limits_;
};

Result<std::vector<Tensor>> Verifier::reference(std::span<const Tensor> inputs,
                                                double noise) const {
  InterpretOptions limits = limits_;
  limits.rounding_noise = noise;
  // The estimate may be wrong.
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(3 * options_.seconds);
  if (!options_.always)
    limits.check = [end]() -> Status {
      if (std::chrono::steady_clock::now() < end) return {};
      return Error(Code::cancelled, "the reference takes too long");
    };
  return interpret(graph_, with_variables(inputs), limits);
}

std::vector<Tensor> Verifier::with_variables(std::span<const Tensor> inputs) const {
  std::vector<Tensor> all(inputs.begin(), inputs.end());
  for (const auto& variable : file_.state) all.push_back(variable.initial);
  return all;
}

Result<Inputs> Verifier::try_inputs(std::vector<Tensor> tensors, std::string description) {
  if (std::string reason = too_expensive(graph_, tensors, options_); !reason.empty())
    return Error(Code::cancelled, std::move(reason));
  auto expected = TRY(reference(tensors, 0));
  return Inputs{std::move(tensors), std::move(description), std::move(expected)};
}

Result<Inputs> Verifier::find_inputs() {
  std::vector<Tensor> given;
  for (const auto& port : function_.inputs()) {
    const auto found = options_.inputs.find(port.name);
    if (found == options_.inputs.end()) break;
    if (!is_compatible(port.type, found->second.type()))
      return invalid_argument(fmt::format("input '{}' takes {}, {} is given", port.name,
                                          port.type.to_string(), found->second.type().to_string()));
    given.push_back(found->second);
  }
  if (!options_.inputs.empty() && given.size() == function_.inputs().size())
    return try_inputs(std::move(given), "the given inputs");
  // Sizes that most models can do something with, the telling ones first.
  constexpr OpenSizes kSizes[] = {{2, 5}, {1, 64}, {1, 1}};
  std::optional<Error> first;
  for (const OpenSizes& sizes : kSizes) {
    auto tensors = TRY(sample_inputs(function_.inputs(), sizes));
    auto inputs = try_inputs(std::move(tensors),
                             fmt::format("made-up inputs (seed 1, open dimensions {} and {})",
                                         sizes.batch, sizes.other));
    if (inputs.ok()) return inputs;
    if (!first) first = std::move(inputs).error();
  }
  return *std::move(first);
}

Result<Verification> Verifier::run() {
  Verification result{file_.key};
  const auto passed_over = [&](const Error& error) -> Result<Verification> {
    if (options_.always && error.code != Code::unsupported) return error;
    result.reason = error.message;
    return result;
  };
  if (draws_random_numbers(graph_))
    return passed_over(unsupported("it draws random numbers, no two runs agree"));
  auto inputs = find_inputs();
  if (!inputs.ok()) return passed_over(inputs.error());
  const auto actual = function_.run(inputs->tensors, {});
  if (!actual.ok() && actual.error().code == Code::resource_exhausted)
    return passed_over(actual.error());
  if (!actual.ok())
    TRY(refuse(*inputs, "the compiled model fails where the reference does not: " +
                            actual.error().to_string()));
  const double tolerance =
      is_narrow(graph_) ? std::max(kNarrowTolerance, options_.tolerance) : options_.tolerance;
  std::optional<Result<std::vector<Tensor>>> noisy;
  for (size_t i = 0; i < actual->size(); ++i) {
    const Difference d = compare((*actual)[i], inputs->expected[i]);
    if (d.within(tolerance)) {
      result.relative_l2 = std::max(result.relative_l2, d.relative_l2);
      continue;
    }
    if (!noisy) noisy = reference(inputs->tensors, kNoise);
    if (!noisy->ok()) return passed_over(noisy->error());
    const Difference by_rounding = compare((**noisy)[i], inputs->expected[i]);
    const bool excused = d.mismatch.empty()
                             ? d.relative_l2 <= kNoiseFactor * by_rounding.relative_l2
                             : !by_rounding.mismatch.empty();
    if (excused) {
      result.reason = fmt::format("output '{}' depends on rounding on {}: {}",
                                  file_.output_names[i], inputs->description, d.to_string());
      return result;
    }
    TRY(refuse(*inputs,
               fmt::format("output '{}' of the compiled model differs from the reference: {}",
                           file_.output_names[i], d.to_string())));
  }
  result.verified = true;
  return result;
}

Status Verifier::refuse(const Inputs& inputs, const std::string& what) const {
  Error error = internal_error(what);
  const auto optimized = TRY(decode_graph(file_.graph));
  const auto all = with_variables(inputs.tensors);
  const auto actual = layers_by_runtime(*optimized, all, options_.load);
  const auto expected = layers_by_reference(graph_, all);
  if (actual.ok() && expected.ok()) {
    const auto layers = compare_layers(*actual, *expected);
    if (const auto* first = first_difference(layers, options_.tolerance))
      error.where = fmt::format("node '{}', the first that differs: {}", first->name,
                                first->difference.to_string());
  }
  error.notes.push_back(
      fmt::format("while verifying function '{}' on {}", file_.key, inputs.description));
  const std::string path = "repro.tn";
  const std::string text = fmt::format("// opt: default\n{}", print_graph(graph_, TextForm::kFull));
  if (write_file_atomically(path, as_bytes(text)).ok())
    error.notes.push_back(
        fmt::format("this is a bug of Tenon; `tenon bisect {}` says which pass it is in, please "
                    "send that file (it "
                    "holds the weights of the graph); --no-verify compiles all the same",
                    path));
  return error;
}

}  // namespace

double estimated_seconds(const Graph& graph, std::span<const Tensor> inputs) {
  const auto copy = graph.clone();
  for (size_t i = 0; i < inputs.size() && i < copy->inputs().size(); ++i)
    copy->inputs()[i]->set_type(inputs[i].type());
  // Where inference fails the run will say why.
  (void)copy->infer_all();
  return seconds_of(*copy);
}

Result<std::vector<Verification>> verify_compiled(const Compiled& compiled,
                                                  const VerifyOptions& options) {
  std::vector<Verification> results;
  std::optional<runtime::Model> model;
  for (size_t i = 0; i < compiled.model.functions.size() && i < compiled.imported.size(); ++i) {
    const FileFunction& function = compiled.model.functions[i];
    // Fewer bits are to be what the compiled graph says: what they lost is not the runtime's doing.
    std::unique_ptr<Graph> quantized;
    const FunctionReport& report = compiled.report.functions[i];
    if (report.quantization || !report.narrowed.empty())
      quantized = TRY(decode_graph(function.graph));
    const Graph& expected = quantized ? *quantized : *compiled.imported[i];
    if (std::string reason = too_expensive(expected, options); !reason.empty()) {
      results.push_back({function.key, false, std::move(reason), 0});
      continue;
    }
    if (!model) {
      auto bytes = std::make_shared<std::vector<std::byte>>(TRY(encode_model(compiled.model)));
      model = TRY(runtime::Model::load(Blob{*bytes, bytes}, options.load));
    }
    results.push_back(
        TRY(Verifier(expected, function, TRY(model->function(function.key)), options).run()));
  }
  return results;
}

}  // namespace tenon
