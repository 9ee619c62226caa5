// What the cases share: an opened device, models as files, references.
#include <fmt/format.h>

#include <cmath>

#include "device/suite/cases.h"
#include "encode/encode.h"
#include "ir/interpret.h"
#include "ir/text.h"
#include "tensor/compare.h"

namespace tenon::device {

Result<std::unique_ptr<Bench>> Bench::open(const Description& description, double tolerance) {
  std::unique_ptr<Bench> bench(new Bench(description));
  bench->tolerance = tolerance;
  TRY(bench->status(bench->api().open(description.index, nullptr, &bench->device)));
  return bench;
}

Bench::~Bench() {
  if (device != nullptr) api().close(device);
}

Status Bench::refused(tenon_device_error* error, Code code, std::string_view what) const {
  const Status given = status(error);
  if (given.ok()) return wrong(fmt::format("{} is not refused", what));
  if (given.error().code != code)
    return wrong(fmt::format("{} is refused as {}, not as {}: {}", what,
                             code_name(given.error().code), code_name(code),
                             given.error().message));
  if (given.error().message.empty())
    return wrong(fmt::format("{} is refused without a text", what));
  return {};
}

Error wrong(std::string what) {
  return {Code::invalid_model, std::move(what)};
}

Result<Blob> file_of(std::string_view graph) {
  const auto parsed = TRY(parse_graph(graph, "suite"));
  FileFunction function;
  function.key = "main";
  function.graph = encode_graph(*parsed);
  for (size_t i = 0; i < parsed->inputs().size(); ++i)
    function.input_names.push_back(fmt::format("input{}", i));
  for (size_t i = 0; i < parsed->outputs().size(); ++i)
    function.output_names.push_back(fmt::format("output{}", i));
  FileModel model;
  model.functions.push_back(std::move(function));
  const std::vector<std::byte> bytes = TRY(encode_model(model));
  const auto copy = allocate_aligned(bytes.size());
  if (copy == nullptr) return resource_exhausted("out of memory");
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return Blob{{copy.get(), bytes.size()}, copy};
}

Result<std::vector<Tensor>> inputs_for(std::string_view graph, int64_t open, uint32_t seed) {
  const auto parsed = TRY(parse_graph(graph, "suite"));
  std::vector<Tensor> inputs;
  uint32_t state = seed * 2654435761U + 12345;
  const auto next = [&state] {  // in [-1, 1)
    state = state * 1664525U + 1013904223U;
    return static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1;
  };
  for (const auto& input : parsed->inputs()) {
    std::vector<int64_t> dims;
    for (const Dim& d : input->shape().dims()) dims.push_back(d.size_or(open));
    Tensor t = TRY(Tensor::zeros(input->dtype(), dims));
    for (int64_t i = 0; i < t.elements(); ++i) {
      const float x = next();
      if (t.dtype() == DType::f32) t.mutable_data<float>()[i] = x;
      if (t.dtype() == DType::f64) t.mutable_data<double>()[i] = x;
      if (t.dtype() == DType::i32) t.mutable_data<int32_t>()[i] = static_cast<int32_t>(x * 100);
      if (t.dtype() == DType::boolean) t.mutable_data<bool>()[i] = x > 0;
    }
    inputs.push_back(std::move(t));
  }
  return inputs;
}

Result<std::vector<Tensor>> expected_of(std::string_view graph, std::span<const Tensor> inputs) {
  return interpret(*TRY(parse_graph(graph, "suite")), inputs);
}

Result<std::shared_ptr<LoadedProgram>> loaded(Bench& bench, const Blob& file) {
  Load load;
  load.model = file;
  load.function = "main";
  return LoadedProgram::load(bench.description, 0, load);
}

Status compare_all(Bench& bench, std::span<const Tensor> results,
                   std::span<const Tensor> expected) {
  if (results.size() != expected.size())
    return wrong(fmt::format("{} results, expected {}", results.size(), expected.size()));
  for (size_t i = 0; i < results.size(); ++i) {
    const Difference d = compare(results[i], expected[i]);
    if (!d.within(bench.tolerance)) return wrong(fmt::format("result {}: {}", i, d.to_string()));
  }
  return {};
}

}  // namespace tenon::device
