#include "ops/stateless_random.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/philox.h"
#include "ops/registry.h"

namespace tenon {

philox::Words philox::scramble(Words c, uint64_t key) {
  constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = kMul0 * c[0], p1 = kMul1 * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  return c;
}

namespace {

using philox::Stream;
using philox::Words;

void fill_floats(StatelessKind kind, Stream& stream, Tensor& y) {
  std::vector<double> values(static_cast<size_t>(y.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    if (y.dtype() == DType::f64) {
      values[i] = stream.next_double();
      if (kind == StatelessKind::uniform) continue;
      const auto pair = philox::box_muller(values[i], stream.next_double());
      values[i] = pair[0];
      if (++i < values.size()) values[i] = pair[1];
    } else if (kind == StatelessKind::normal) {
      const float u = stream.next_float();
      const auto pair = philox::box_muller(u, stream.next_float());
      values[i] = static_cast<double>(pair[0]);
      if (++i < values.size()) values[i] = static_cast<double>(pair[1]);
    } else if (y.dtype() == DType::f32) {
      values[i] = static_cast<double>(stream.next_float());
    } else {
      // The fraction bits of the 16-bit types: 10 and 7.
      const uint32_t mask = y.dtype() == DType::f16 ? 0x3FF : 0x7F;
      values[i] = static_cast<double>(stream.next() & mask) / (mask + 1.0);
    }
  }
  nn::store_reals(y, values);
}

// Normally distributed values that are less than 2. A group of four (of f64 two) has blocks of its
// own, so that it does not depend on how many were rejected before it.
void fill_truncated(uint64_t key, uint64_t low, uint64_t high, Tensor& y) {
  const bool wide = y.dtype() == DType::f64;
  const size_t group = wide ? 2 : 4, blocks = wide ? 128 : 256;
  std::vector<double> values;
  const auto n = static_cast<size_t>(y.elements());
  values.reserve(n + group);
  for (size_t index = 0; values.size() < n; ++index) {
    Stream stream(key, low, high, index * blocks);
    for (const size_t end = values.size() + group; values.size() < end;) {
      std::array<double, 2> pair{};
      if (wide) {
        const double u = stream.next_double();
        pair = philox::box_muller(u, stream.next_double());
      } else {
        const float u = stream.next_float();
        const auto narrow = philox::box_muller(u, stream.next_float());
        pair = {static_cast<double>(narrow[0]), static_cast<double>(narrow[1])};
      }
      for (const double v : pair)
        if (std::abs(v) < 2 && values.size() < end) values.push_back(v);
    }
  }
  values.resize(n);
  nn::store_reals(y, values);
}

}  // namespace

Result<TensorTypes> StatelessKey::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 0, name, "a seed", 1));
  TRY(nn::expect_vector(context, name, 0, Dim(2), "the seed"));
  return TensorTypes{{DType::u64, Shape{Dim(1)}}, {DType::u64, Shape{Dim(2)}}};
}

Status StatelessKey::eval(EvalContext& context) const {
  if (context.in(0).elements() != 2) return invalid_argument("a seed must be two integers");
  // Mixed once, so that seeds that differ little give keys that differ much.
  const auto a = static_cast<uint64_t>(context.in(0).int_at(0)),
             b = static_cast<uint64_t>(context.in(0).int_at(1));
  const Words mixed = philox::scramble({static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32),
                                        static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32)},
                                       0x02461e293ec8f720);
  context.out(0).mutable_data<uint64_t>()[0] = mixed[0] | static_cast<uint64_t>(mixed[1]) << 32;
  context.out(1).mutable_data<uint64_t>()[0] = 0;
  context.out(1).mutable_data<uint64_t>()[1] = mixed[2] | static_cast<uint64_t>(mixed[3]) << 32;
  return {};
}

Result<TensorTypes> StatelessRandom::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 0, name, "a shape", 1));
  const bool floats = kind != StatelessKind::integers && kind != StatelessKind::bits;
  const bool ranged = kind == StatelessKind::integers;
  if (context.dtype(1) != DType::u64 || context.dtype(2) != DType::u64 ||
      context.size() != (ranged ? 5 : 3))
    return invalid_argument(
        "stateless_random needs a shape, a key, a counter, and a range of "
        "integers");
  if (floats ? !is_float(dtype) : !is_int(dtype) || dtype_size(dtype) < 4)
    return unsupported(fmt::format("stateless_random does not make {}", dtype_name(dtype)));
  for (int i = 3; i < context.size(); ++i) {
    if (context.dtype(i) != dtype) return invalid_argument("stateless_random: limits of that type");
    TRY(nn::expect_scalar(context, name, i));
  }
  TensorType out{dtype, Shape::unranked()};
  if (const auto sizes = small_ints_or_unknown(context, 0)) {
    out.shape = Shape{};
    for (const SymInt& s : *sizes) {
      if (s.value && *s.value < 0) return invalid_argument("a shape with a negative size");
      out.shape.dims().push_back(s.as_dim());
    }
  }
  return TensorTypes{out};
}

Status StatelessRandom::eval(EvalContext& context) const {
  const auto dims = context.in(0).to_ints();
  for (const int64_t d : dims)
    if (d < 0) return invalid_argument("random values of a shape with a negative size");
  if (context.in(1).elements() != 1 || context.in(2).elements() != 2)
    return invalid_argument("stateless_random needs a key of one and a counter of two words");
  TRY(context.allocate(0, dtype, dims));
  Tensor& y = context.out(0);
  const auto* counter = context.in(2).data<uint64_t>();
  const uint64_t key = context.in(1).data<uint64_t>()[0];
  if (kind == StatelessKind::truncated_normal) {
    fill_truncated(key, counter[0], counter[1], y);
    return {};
  }
  Stream stream(key, counter[0], counter[1]);
  if (is_float(dtype)) {
    fill_floats(kind, stream, y);
    return {};
  }
  const bool ranged = kind == StatelessKind::integers, wide = dtype_size(dtype) == 8;
  for (int i = 3; i < context.size(); ++i)
    if (context.in(i).elements() != 1) return invalid_argument("a limit must be one integer");
  const uint64_t low = ranged ? static_cast<uint64_t>(context.in(3).int_at(0)) : 0;
  uint64_t range = ranged ? static_cast<uint64_t>(context.in(4).int_at(0)) - low : 0;
  if (!wide) range &= 0xFFFFFFFF;
  if (ranged && (range == 0 || context.in(4).int_at(0) < context.in(3).int_at(0)))
    return invalid_argument("stateless_random: the range of integers is empty");
  for (int64_t i = 0; i < y.elements(); ++i) {
    const uint64_t bits = wide ? stream.next64() : stream.next();
    const uint64_t v = ranged ? low + bits % range : bits;
    std::memcpy(static_cast<char*>(y.mutable_raw()) + i * (wide ? 8 : 4), &v, wide ? 8 : 4);
  }
  return {};
}

constinit const OpDef StatelessKey::def = define<StatelessKey>();
constinit const OpDef StatelessRandom::def = define<StatelessRandom>();
OpDefs stateless_random_ops() {
  return {&StatelessKey::def, &StatelessRandom::def};
}

}  // namespace tenon
