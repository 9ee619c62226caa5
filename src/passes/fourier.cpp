#include "passes/fourier.h"

#include <cmath>
#include <numbers>

#include "ops/binary.h"
#include "ops/matmul.h"

namespace tenon {
namespace {

// Of one matrix of waves: 16 MiB in halves.
constexpr int64_t kMostElements = int64_t{1} << 23;

// scale cos and scale sin of turn / length times (row * column), [rows, columns].
struct Waves {
  Tensor cosine, sine;
};
template <typename Scale>
Result<Waves> waves(int64_t rows, int64_t columns, int64_t length, int sign, Scale&& scale) {
  const int64_t dims[] = {rows, columns};
  Waves w{TRY(Tensor::allocate(DType::f32, dims)), TRY(Tensor::allocate(DType::f32, dims))};
  std::vector<double> cosines, sines;
  for (int64_t i = 0; i < length; ++i) {
    const double angle =
        2 * std::numbers::pi * static_cast<double>(i) / static_cast<double>(length);
    cosines.push_back(std::cos(angle));
    sines.push_back(sign * std::sin(angle));
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      const auto turn = static_cast<size_t>(r * c % length);
      w.cosine.mutable_data<float>()[r * columns + c] =
          static_cast<float>(scale(r) * cosines[turn]);
      w.sine.mutable_data<float>()[r * columns + c] = static_cast<float>(scale(r) * sines[turn]);
    }
  return w;
}

int64_t last_dim(const Value* v) {
  return v->shape()[v->shape().rank() - 1].size();
}

// The part of the last axis from its beginning.
Result<Value*> first_of(Builder& b, Value* x, int64_t count) {
  if (x == nullptr || last_dim(x) <= count) return x;
  return b.op("slice", {x, b.ints({0}), b.ints({count})}, {{"axes", std::vector<int64_t>{-1}}});
}

Result<Value*> padded(Builder& b, Value* x, int64_t size) {
  if (x == nullptr || last_dim(x) >= size) return x;
  return b.op("pad", {x, b.ints({0, size - last_dim(x)})}, {{"axes", std::vector<int64_t>{-1}}});
}

Result<Value*> reshaped(Builder& b, Value* x, const std::vector<int64_t>& dims) {
  if (x == nullptr) return x;
  return b.op("reshape", {x, b.ints(dims)});
}

Result<Value*> last_two_swapped(Builder& b, Value* x) {
  if (x == nullptr) return x;
  std::vector<int64_t> perm(static_cast<size_t>(x->shape().rank()));
  for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return b.op("transpose", {x}, {{"perm", perm}});
}

template <typename F>
Result<ComplexParts> each(const ComplexParts& x, F&& f) {
  return ComplexParts{TRY(f(x.re)), TRY(f(x.im))};
}

Result<ComplexParts> by_one_matrix(Builder& b, const ComplexParts& x, int64_t length, int64_t kept,
                                   bool inverse) {
  const double share = inverse ? 1 / static_cast<double>(length) : 1;
  Waves w =
      TRY(waves(last_dim(x.re), kept, length, inverse ? 1 : -1, [&](int64_t) { return share; }));
  const ComplexParts matrix{b.constant(std::move(w.cosine)), b.constant(std::move(w.sine))};
  return multiply_parts(b, *make_op(Matmul{}), x, matrix);
}

// Of length = n1 n2: over columns of [n1, n2], turned by what the place in a row and the frequency
// come to, then over rows.
Result<ComplexParts> in_two_steps(Builder& b, ComplexParts x, int64_t length, int64_t n1,
                                  bool inverse) {
  const int64_t n2 = length / n1;
  std::vector<int64_t> dims;
  for (const Dim& d : x.re->shape().dims()) dims.push_back(d.size());
  const std::vector<int64_t> whole = dims;
  dims.back() = n1;
  dims.push_back(n2);
  const auto swapped = [&](const ComplexParts& v) {
    return each(v, [&](Value* part) { return last_two_swapped(b, part); });
  };
  x = TRY(each(x, [&](Value* part) { return reshaped(b, part, dims); }));
  x = TRY(by_one_matrix(b, TRY(swapped(x)), n1, n1, inverse));
  Waves w = TRY(waves(n2, n1, length, inverse ? 1 : -1, [](int64_t) { return 1; }));
  const ComplexParts turns{b.constant(std::move(w.cosine)), b.constant(std::move(w.sine))};
  x = TRY(multiply_parts(b, *make_op(Mul{}), x, turns));
  x = TRY(by_one_matrix(b, TRY(swapped(x)), n2, n2, inverse));
  return each(TRY(swapped(x)), [&](Value* part) { return reshaped(b, part, whole); });
}

// The factor nearest to the root from below.
int64_t middle_factor(int64_t n) {
  auto f = static_cast<int64_t>(std::sqrt(static_cast<double>(n)));
  while (f > 1 && n % f != 0) --f;
  return f;
}

}  // namespace

Result<ComplexParts> multiply_parts(Builder& b, const Op& op, const ComplexParts& x,
                                    const ComplexParts& y) {
  const auto product = [&](Value* p, Value* q) -> Result<Value*> {
    if (p == nullptr || q == nullptr) return nullptr;
    return TRY(b.add(op.clone(), {p, q}))->output();
  };
  const auto combined = [&](std::string_view with, Value* p, Value* q) -> Result<Value*> {
    if (q == nullptr) return p;
    return b.op(with, {p, q});
  };
  Value* const crossed = TRY(product(x.re, y.im));
  Value* const other = TRY(product(x.im, y.re));
  return ComplexParts{
      TRY(combined("sub", TRY(product(x.re, y.re)), TRY(product(x.im, y.im)))),
      crossed == nullptr ? other : TRY(combined("add", crossed, other)),
  };
}

Result<ComplexParts> transform_parts(Builder& b, ComplexParts x, int64_t length, int64_t kept,
                                     bool inverse) {
  x = TRY(each(x, [&](Value* part) { return first_of(b, part, length); }));
  const bool is_vector = x.re->shape().rank() == 1;
  if (is_vector)
    x = TRY(each(x, [&](Value* part) -> Result<Value*> {
      if (part == nullptr) return part;
      return b.op("expand_dims", {part}, {{"axes", std::vector<int64_t>{0}}});
    }));
  if (last_dim(x.re) * kept <= kMostElements) {
    x = TRY(by_one_matrix(b, x, length, kept, inverse));
  } else {
    const int64_t n1 = middle_factor(length), n2 = length / n1;
    if (n2 * n2 > kMostElements) return ComplexParts{};
    x = TRY(each(x, [&](Value* part) { return padded(b, part, length); }));
    x = TRY(in_two_steps(b, x, length, n1, inverse));
    x = TRY(each(x, [&](Value* part) { return first_of(b, part, kept); }));
  }
  if (!is_vector) return x;
  return each(x, [&](Value* part) -> Result<Value*> {
    return b.op("squeeze", {part}, {{"axes", std::vector<int64_t>{0}}});
  });
}

Result<Value*> real_signal(Builder& b, ComplexParts x, int64_t length) {
  const int64_t kept = length / 2 + 1;
  x = TRY(each(x, [&](Value* part) { return first_of(b, part, kept); }));
  const int64_t rows = last_dim(x.re);
  if (rows * length > kMostElements) return nullptr;
  // All but the first and the middle one stand for their mirror images, too.
  const auto share = [&](int64_t k) {
    return (k == 0 || 2 * k == length ? 1.0 : 2.0) / static_cast<double>(length);
  };
  Waves w = TRY(waves(rows, length, length, -1, share));
  const bool is_vector = x.re->shape().rank() == 1;
  const auto product = [&](Value* part, Tensor matrix) -> Result<Value*> {
    if (is_vector) part = TRY(b.op("expand_dims", {part}, {{"axes", std::vector<int64_t>{0}}}));
    return b.op("matmul", {part, b.constant(std::move(matrix))});
  };
  Value* y = TRY(product(x.re, std::move(w.cosine)));
  if (x.im != nullptr) y = TRY(b.op("add", {y, TRY(product(x.im, std::move(w.sine)))}));
  if (!is_vector) return y;
  return b.op("squeeze", {y}, {{"axes", std::vector<int64_t>{0}}});
}

}  // namespace tenon
