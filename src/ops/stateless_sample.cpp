#include "ops/stateless_sample.h"

#include <fmt/format.h>

#include <numeric>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/philox.h"
#include "ops/registry.h"

namespace tenon {
namespace {

using philox::Stream;

constexpr uint64_t kBlocksPerSample = 256;  // reserved, so that samples do not depend on others

Status expect_key(const InferContext& context, std::string_view op, int at) {
  if (context.dtype(at) == DType::u64 && context.dtype(at + 1) == DType::u64) return {};
  return invalid_argument(fmt::format("{}: the key and the counter must be u64", op));
}

struct Key {
  uint64_t key = 0, low = 0, high = 0;
  Stream stream(uint64_t skip = 0) const { return {key, low, high, skip}; }
};

Result<Key> key_of(const EvalContext& context, std::string_view op, int at) {
  if (context.in(at).elements() != 1 || context.in(at + 1).elements() != 2)
    return invalid_argument(fmt::format("{} needs a key of one and a counter of two words", op));
  const auto* counter = context.in(at + 1).data<uint64_t>();
  return Key{context.in(at).data<uint64_t>()[0], counter[0], counter[1]};
}

// Numbers of one kind, a block's at a time, the last of a block first.
template <typename T, size_t kCount, typename F>
class Buffer {
 public:
  Buffer(Stream& stream, F make) : stream_(stream), make_(make) {}
  T next() {
    if (left_ == 0) {
      values_ = make_(stream_.block());
      left_ = kCount;
    }
    return values_[--left_];
  }

 private:
  Stream& stream_;
  F make_;
  std::array<T, kCount> values_{};
  size_t left_ = 0;
};
template <typename T, size_t kCount, typename F>
Buffer<T, kCount, F> buffer(Stream& stream, F make) {
  return {stream, make};
}

std::array<double, 2> two_doubles(const philox::Words& w) {
  return {philox::to_double(w[0], w[1]), philox::to_double(w[2], w[3])};
}
std::array<double, 2> two_normals(const philox::Words& w) {
  const auto [u, v] = two_doubles(w);
  return philox::box_muller(u, v);
}
// Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.
double gamma_sample(double alpha, Stream stream) {
  auto uniform = buffer<double, 2>(stream, two_doubles);
  auto normal = buffer<double, 2>(stream, two_normals);
  if (alpha == 1) return -std::log1p(-uniform.next());
  const double d = alpha + (alpha < 1 ? 2.0 / 3 : -1.0 / 3), c = 1.0 / 3 / std::sqrt(d);
  // Nearly every attempt succeeds; parameters that are no numbers never do.
  for (int attempt = 0; attempt < 10000; ++attempt) {
    const double x = normal.next();
    double v = 1 + c * x;
    if (v <= 0) continue;
    v = v * v * v;
    const double u = uniform.next();
    if (u >= 1 - 0.0331 * (x * x) * (x * x) &&
        !(std::log(u) < 0.5 * x * x + d * (1 - v + std::log(v))))
      continue;
    return alpha < 1 ? d * v * std::pow(uniform.next(), 1 / alpha) : d * v;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

double log_gamma(double x) {
  int sign = 0;
  return lgamma_r(x, &sign);
}

// Below a rate of 10 Knuth's product of uniform numbers, above Hörmann's transformed rejection
// ("The transformed rejection method for generating Poisson random variables", 1993).
double poisson_sample(double rate, Stream stream) {
  auto uniform = buffer<double, 2>(stream, two_doubles);
  constexpr int kMostAttempts = 100000;
  if (!std::isfinite(rate) || rate < 0) return std::numeric_limits<double>::quiet_NaN();
  if (rate < 10) {
    const double least = std::exp(-rate);
    double product = 1;
    for (int k = 0; k < kMostAttempts; ++k) {
      product = product * uniform.next();
      if (product <= least) return k;
    }
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double log_rate = std::log(rate);
  const double b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b;
  const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const double u = uniform.next() - 0.5;
    const double v = uniform.next();
    const double shifted = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / shifted + b) * u + rate + 0.43);
    if (shifted >= 0.07 && v <= 0.9277 - 3.6224 / (b - 2)) return k;
    if (k < 0 || (shifted < 0.013 && v > shifted)) continue;
    const double s = std::log(v * inverse_alpha / (a / (shifted * shifted) + b));
    const double t = -rate + k * log_rate - log_gamma(k + 1);
    if (s <= t) return k;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

// What Stirling's formula leaves of log(k!).
double stirling_rest(double k) {
  constexpr double kFirst[] = {0.0810614667953272,  0.0413406959554092, 0.0276779256849983,
                               0.02079067210376509, 0.0166446911898211, 0.0138761288230707,
                               0.0118967099458917,  0.0104112652619720, 0.00925546218271273,
                               0.00833056343336287};
  if (k <= 9) return kFirst[static_cast<size_t>(k)];
  const double square = (k + 1) * (k + 1);
  return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1);
}

// Successes among `tries` (p at most 1/2). Few expected ones: the gaps between them are geometric;
// many: Hörmann's transformed rejection ("The generation of binomial random variates", 1993).
double binomial_sample(double tries, double p, Stream stream) {
  auto uniform = buffer<double, 2>(stream, two_doubles);
  constexpr int kMostAttempts = 100000;
  if (tries * p < 10) {
    double sum = 0;
    for (int k = 0; k < kMostAttempts; ++k) {
      sum += std::ceil(std::log(uniform.next()) / std::log1p(-p));
      if (sum > tries) return k;
    }
    return std::numeric_limits<double>::quiet_NaN();
  }
  const double deviation = std::sqrt(tries * p * (1 - p));
  const double b = 1.15 + 2.53 * deviation, a = -0.0873 + 0.0248 * b + 0.01 * p;
  const double c = tries * p + 0.5, limit = 0.92 - 4.2 / b, odds = p / (1 - p);
  const double alpha = (2.83 + 5.1 / b) * deviation, mode = std::floor((tries + 1) * p);
  for (int attempt = 0; attempt < kMostAttempts; ++attempt) {
    const double u = uniform.next() - 0.5;
    double v = uniform.next();
    const double shifted = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / shifted + b) * u + c);
    if (shifted >= 0.07 && v <= limit) return k;
    if (k < 0 || k > tries) continue;
    v = std::log(v * alpha / (a / (shifted * shifted) + b));
    const double bound = (mode + 0.5) * std::log((mode + 1) / (odds * (tries - mode + 1))) +
                         (tries + 1) * std::log((tries - mode + 1) / (tries - k + 1)) +
                         (k + 0.5) * std::log(odds * (tries - k + 1) / (k + 1)) +
                         stirling_rest(mode) + stirling_rest(tries - mode) - stirling_rest(k) -
                         stirling_rest(tries - k);
    if (v <= bound) return k;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

double any_binomial_sample(double tries, double p, const Stream& stream) {
  if (!(tries > 0) || !(p > 0)) return std::isnan(tries) || std::isnan(p) ? tries + p : 0;
  if (!std::isfinite(tries) || p > 1) return std::numeric_limits<double>::quiet_NaN();
  tries = std::floor(tries);
  return p <= 0.5 ? binomial_sample(tries, p, stream)
                  : tries - binomial_sample(tries, 1 - p, stream);
}

}  // namespace

Result<TensorTypes> StatelessSample::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 0, name, "a shape", 1));
  TRY(expect_key(context, name, 1));
  if (!is_float(context.dtype(3)) && !is_int(context.dtype(3)))
    return invalid_argument("stateless_sample: the parameter must be a number");
  if (context.has(4) != (kind == SampleKind::binomial))
    return invalid_argument("stateless_sample: a probability for binomial, and only there");
  if (context.has(4) && !is_float(context.dtype(4)) && !is_int(context.dtype(4)))
    return invalid_argument("stateless_sample: the probability must be a number");
  if (!is_float(dtype) && !is_int(dtype))
    return unsupported(fmt::format("stateless_sample does not make {}", dtype_name(dtype)));
  TensorType out{dtype, Shape::unranked()};
  if (const auto sizes = small_ints_or_unknown(context, 0)) {
    out.shape = Shape{};
    for (const SymInt& s : *sizes) {
      if (s.value && *s.value < 0) return invalid_argument("a shape with a negative size");
      out.shape.dims().push_back(s.as_dim());
    }
    const Shape& inner = context.shape(3);
    const int ahead = out.shape.rank() - inner.rank();
    bool fits = !inner.ranked() || ahead >= 0;
    for (int i = 0; fits && inner.ranked() && i < inner.rank(); ++i)
      fits = !inner[i].known() || !out.shape[ahead + i].known() || inner[i] == out.shape[ahead + i];
    if (!fits)
      return invalid_argument("stateless_sample: the shape must end with that of the parameter");
  }
  return TensorTypes{out};
}

Status StatelessSample::eval(EvalContext& context) const {
  const auto dims = context.in(0).to_ints();
  const Tensor& parameter = context.in(3);
  const auto& inner = parameter.dims();
  for (const int64_t d : dims)
    if (d < 0) return invalid_argument("random values of a shape with a negative size");
  if (inner.size() > dims.size() ||
      !std::equal(inner.begin(), inner.end(), dims.end() - static_cast<ptrdiff_t>(inner.size())))
    return invalid_argument("stateless_sample: the shape must end with that of the parameter");
  const Key key = TRY(key_of(context, name, 1));
  if (kind == SampleKind::binomial && context.in(4).dims() != parameter.dims())
    return invalid_argument("stateless_sample: one probability for each number of tries");
  TRY(context.allocate(0, dtype, dims));
  const int64_t parameters = parameter.elements();
  std::vector<double> values(static_cast<size_t>(context.out(0).elements()));
  const int64_t samples = parameters == 0 ? 0 : static_cast<int64_t>(values.size()) / parameters;
  for (int64_t p = 0; p < parameters; ++p)
    for (int64_t i = 0; i < samples; ++i) {
      const auto skip = kBlocksPerSample * static_cast<uint64_t>(p * samples + i);
      const double v = parameter.real_at(p);
      double& sample = values[static_cast<size_t>(i * parameters + p)];
      if (kind == SampleKind::gamma) sample = gamma_sample(v, key.stream(skip));
      if (kind == SampleKind::poisson) sample = poisson_sample(v, key.stream(skip));
      if (kind == SampleKind::binomial)
        sample = any_binomial_sample(v, context.in(4).real_at(p), key.stream(skip));
    }
  nn::store_reals(context.out(0), values);
  return {};
}

Result<TensorTypes> StatelessCategories::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(nn::expect_float(context, name));
  TRY(nn::expect_rank(context, name, 0, 2));
  TRY(require_indices(context, 1, name, "a count", 0));
  TRY(expect_key(context, name, 2));
  if (dtype != DType::i32 && dtype != DType::i64)
    return unsupported("stateless_categories makes i32 or i64");
  Shape shape = Shape::unknown_dims(2);
  if (context.shape(0).ranked()) shape[0] = context.shape(0)[0];
  if (const auto count = context.ints(1); count && count->size() == 1)
    shape[1] = (*count)[0].as_dim();
  return TensorTypes{{dtype, shape}};
}

Status StatelessCategories::eval(EvalContext& context) const {
  const Tensor& logits = context.in(0);
  if (context.in(1).elements() != 1 || logits.rank() != 2)
    return invalid_argument("stateless_categories needs logits [batch, n] and one count");
  const int64_t rows = logits.dim(0), classes = logits.dim(1), count = context.in(1).int_at(0);
  if (count < 0 || classes < 1)
    return invalid_argument("stateless_categories needs a class at least, and a count");
  Stream stream = TRY(key_of(context, name, 2)).stream();
  const int64_t dims[] = {rows, count};
  TRY(checked_elements(dims, sizeof(double)));
  TRY(context.allocate(0, dtype, dims));
  std::vector<double> values;
  std::vector<double> sums(static_cast<size_t>(classes));
  for (int64_t row = 0; row < rows; ++row) {
    double most = std::numeric_limits<double>::lowest(), total = 0;
    for (int64_t i = 0; i < classes; ++i)
      if (const double v = logits.real_at(row * classes + i); std::isfinite(v))
        most = std::max(most, v);
    for (int64_t i = 0; i < classes; ++i) {
      const double v = logits.real_at(row * classes + i);
      if (std::isfinite(v)) total += std::exp(v - most);
      sums[static_cast<size_t>(i)] = total;
    }
    for (int64_t i = 0; i < count; ++i) {
      const auto found = std::ranges::upper_bound(sums, stream.next_double() * total);
      values.push_back(static_cast<double>(found - sums.begin()));
    }
  }
  nn::store_reals(context.out(0), values);
  return {};
}

Result<TensorTypes> StatelessPermutation::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 0, name, "a count", 0));
  TRY(expect_key(context, name, 1));
  Dim n = Dim::unknown();
  if (const auto count = context.ints(0); count && count->size() == 1) n = (*count)[0].as_dim();
  return TensorTypes{{DType::i64, Shape{n}}};
}

Status StatelessPermutation::eval(EvalContext& context) const {
  if (context.in(0).elements() != 1 || context.in(0).int_at(0) < 0)
    return invalid_argument("stateless_permutation needs one count");
  const int64_t dims[] = {context.in(0).int_at(0)};
  TRY(checked_elements(dims, sizeof(int64_t)));
  Stream stream = TRY(key_of(context, name, 1)).stream();
  TRY(context.allocate(0, DType::i64, dims));
  auto* out = context.out(0).mutable_data<int64_t>();
  std::iota(out, out + dims[0], 0);
  for (int64_t i = 0; i + 1 < dims[0]; ++i)
    std::swap(out[i],
              out[i + static_cast<int64_t>(stream.next() % static_cast<uint64_t>(dims[0] - i))]);
  return {};
}

constinit const OpDef StatelessSample::def = define<StatelessSample>();
constinit const OpDef StatelessCategories::def = define<StatelessCategories>();
constinit const OpDef StatelessPermutation::def = define<StatelessPermutation>();
OpDefs stateless_sample_ops() {
  return {&StatelessSample::def, &StatelessCategories::def, &StatelessPermutation::def};
}

}  // namespace tenon
