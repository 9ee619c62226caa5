// Kernels of single steps against the reference evaluation, for the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/test_random.h"
#include "device/cpu/candidates.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon::cpu {

inline Tensor random_tensor(DType dtype, std::vector<int64_t> dims, double low = -3,
                            double high = 3) {
  Tensor t = Tensor::allocate(dtype, dims).value();
  std::uniform_real_distribution<double> uniform(low, high);
  for (int64_t i = 0; i < t.elements(); ++i) {
    const double v = uniform(test_random());
    if (dtype == DType::boolean)
      t.mutable_data<bool>()[i] = v > (low + high) / 2;
    else
      visit_real(dtype, [&](auto tag) {
        using T = typename decltype(tag)::type;
        t.mutable_data<T>()[i] = T(static_cast<Arithmetic<T>>(v));
      });
  }
  return t;
}
inline Tensor f32(std::vector<int64_t> dims) {
  return random_tensor(DType::f32, std::move(dims));
}
inline Tensor ints(std::vector<int64_t> values) {
  return Tensor::vector(values);
}

using Attributes = std::vector<std::pair<std::string_view, AttrValue>>;

struct Case {
  std::string_view op;
  std::vector<Tensor> inputs;
  Attributes attributes;
  std::string_view kernel;  // expected; empty: any but the reference
  int outputs = 1;
  double tolerance = 0;
  bool constant_weights = false;  // operands 1 and 2
  PackStore* packs = nullptr;     // shared with other cases; null: one of its own
};

inline void check(const Case& c) {
  const auto op = create_op(c.op);
  ASSERT_NE(op, nullptr) << c.op;
  std::string what(c.op);
  for (const auto& [name, value] : c.attributes) {
    ASSERT_TRUE(set_attr(*op, name, value).ok()) << name;
    what += " " + std::string(name);
  }
  std::vector<OperandInfo> infos;
  TensorTypes types;
  std::vector<const Tensor*> constants;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const Tensor& t = c.inputs[i];
    types.push_back(t.type());
    what += " " + t.type().to_string();
    const bool is_constant =
        c.constant_weights ? i == 1 || i == 2 : is_int(t.dtype()) && t.rank() <= 1;
    infos.push_back({t.type(), is_constant ? &t : nullptr, nullptr});
    constants.push_back(is_constant ? &t : nullptr);
  }
  auto results = op->infer(InferContext(infos));
  ASSERT_TRUE(results.ok()) << what << ": " << results.error().to_string();
  const auto expected = evaluate(*op, c.inputs, c.outputs);
  ASSERT_TRUE(expected.ok()) << what << ": " << expected.error().to_string();
  for (const int threads : {1, 2}) {
    PackStore own;
    PackStore& packs = c.packs == nullptr ? own : *c.packs;
    const StepInfo info{*op, types, *results, constants, packs, threads};
    const KernelChoice choice = choose_kernel(info);
    ASSERT_NE(choice.kernel, nullptr)
        << what << ": " << (choice.refusals.empty() ? "" : choice.refusals[0]);
    if (!c.kernel.empty()) {
      EXPECT_EQ(choice.name, c.kernel) << what;
    }
    std::vector<Tensor> outputs;
    outputs.reserve(results->size());
    std::vector<const Tensor*> in;
    std::vector<Tensor*> out;
    in.reserve(c.inputs.size());
    out.reserve(results->size());
    for (const Tensor& t : c.inputs) in.push_back(&t);
    for (const TensorType& t : *results)
      outputs.push_back(Tensor::zeros(t.dtype, t.shape.sizes()).value());
    for (Tensor& t : outputs) out.push_back(&t);
    const auto scratch = allocate_aligned(static_cast<size_t>(choice.kernel->scratch_bytes()));
    ThreadPool pool(threads);
    packs.fill_pending(pool);
    const Status status = choice.kernel->run({in, out, pool, scratch.get()});
    ASSERT_TRUE(status.ok()) << what << ": " << status.error().to_string();
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Tensor& y = outputs[i];
      const Tensor& e = (*expected)[i];
      ASSERT_EQ(y.dims(), e.dims()) << what;
      if (c.tolerance == 0) {
        ASSERT_TRUE(bitwise_equal(y, e)) << what << " output " << i;
        continue;
      }
      for (int64_t k = 0; k < y.elements(); ++k) {
        const double a = y.real_at(k), b = e.real_at(k);
        if (std::isnan(b) ? std::isnan(a) : a == b) continue;
        ASSERT_LE(std::abs(a - b), c.tolerance * (1 + std::abs(b)))
            << what << " output " << i << " element " << k << ": " << a << ", expected " << b;
      }
    }
  }
}

// The reference's first result.
inline Tensor evaluate_like(const Case& c) {
  const auto op = create_op(c.op);
  for (const auto& [name, value] : c.attributes) EXPECT_TRUE(set_attr(*op, name, value).ok());
  return (*evaluate(*op, c.inputs, 1))[0];
}

}  // namespace tenon::cpu
