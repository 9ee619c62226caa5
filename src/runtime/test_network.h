// Networks that tests of the runtime put together step by step.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/test_random.h"
#include "format/model_file.h"
#include "ops/conv.h"
#include "ops/registry.h"
#include "runtime/model.h"

namespace tenon::runtime {

inline Tensor random_tensor(std::vector<int64_t> dims) {
  Tensor t = Tensor::allocate(DType::f32, dims).value();
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < t.elements(); ++i) t.mutable_data<float>()[i] = normal(test_random());
  return t;
}

struct Network {
  FileGraph graph;

  int value(const std::vector<int64_t>& dims) {
    graph.values.push_back({{DType::f32, Shape::of(dims), false}, {}});
    return static_cast<int>(graph.values.size()) - 1;
  }
  int constant(const Tensor& t) {
    graph.constants.push_back({value(t.dims()), t});
    return graph.constants.back().value;
  }
  // A step without attributes; its result, y.
  int step(std::string_view op, std::vector<int> inputs, int y) {
    FileStep s;
    s.op = create_op(op);
    s.inputs = std::move(inputs);
    s.outputs = {y};
    graph.steps.push_back(std::move(s));
    return y;
  }
  // kernel x kernel with pads that keep the size at stride 1.
  int conv(int x, int64_t kernel, int64_t in, int64_t out, int64_t groups, int64_t stride,
           const std::vector<int64_t>& y, int residual = -1) {
    FileStep s;
    s.op = create_op("conv");
    auto* op = s.op->as<Conv>();
    op->groups = groups;
    op->strides = {stride, stride};
    op->pads.assign(4, kernel / 2);
    op->activation = residual < 0 ? ActivationKind::relu : ActivationKind::none;
    s.inputs = {x, constant(random_tensor({kernel, kernel, in / groups, out})),
                constant(random_tensor({out}))};
    if (residual >= 0) s.inputs.push_back(residual);
    s.outputs = {value(y)};
    graph.steps.push_back(std::move(s));
    return graph.steps.back().outputs[0];
  }
};

inline Result<Model> load(FileGraph graph, int threads) {
  FileModel file;
  std::vector<std::string> names, inputs{"x", "r"};
  inputs.resize(graph.inputs.size());
  for (size_t i = 0; i < graph.outputs.size(); ++i) names.push_back("y" + std::to_string(i));
  FileFunction f{"serving_default", std::move(graph), inputs, names};
  file.functions.push_back(std::move(f));
  auto owner = std::make_shared<std::vector<std::byte>>(TRY(encode_model(file)));
  return Model::load(Blob{{owner->data(), owner->size()}, owner}, {.threads = threads});
}

}  // namespace tenon::runtime
