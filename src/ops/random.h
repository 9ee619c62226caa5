// Random tensors by the Philox 4x32-10 counter generator (Salmon et al., "Parallel random numbers:
// as easy as 1, 2, 3", 2011).
#pragma once

#include "ops/op.h"

namespace tenon {

// random_uniform(shape): values in [low, high). Seed 0 gives other values at each evaluation; any
// other seed always the same.
struct RandomUniform {
  double low = 0;
  double high = 1;
  int64_t seed = 0;
  DType dtype = DType::f32;

  static const OpDef def;
  static constexpr std::string_view name = "random_uniform";
  static constexpr std::string_view doc = "random_uniform(shape): values in [low, high).";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kRandom;
  static constexpr auto fields() {
    return std::tuple{Field{1, "low", &RandomUniform::low}, Field{2, "high", &RandomUniform::high},
                      Field{3, "seed", &RandomUniform::seed, "0: other values at each evaluation"},
                      Field{4, "dtype", &RandomUniform::dtype, "a float or an integer type"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct RandomNormal {
  double mean = 0;
  double stddev = 1;
  int64_t seed = 0;
  DType dtype = DType::f32;
  bool truncated = false;

  static const OpDef def;
  static constexpr std::string_view name = "random_normal";
  static constexpr std::string_view doc = "random_normal(shape): normally distributed values.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kRandom;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "mean", &RandomNormal::mean}, Field{2, "stddev", &RandomNormal::stddev},
        Field{3, "seed", &RandomNormal::seed, "0: other values at each evaluation"},
        Field{4, "dtype", &RandomNormal::dtype, "a float type"},
        Field{5, "truncated", &RandomNormal::truncated, "none beyond two standard deviations"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
