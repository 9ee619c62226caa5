#include "ops/tf_idf.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kMaxOutput = int64_t{1} << 28;

// The n-grams of the pool by length, each with its number.
template <typename T>
using Grams = std::map<std::vector<T>, size_t>;

template <typename T>
std::vector<Grams<T>> grams_of(const TfIdf& op, const std::vector<T>& pool) {
  std::vector<Grams<T>> by_length(op.counts.size() + 1);
  size_t number = 0;
  for (size_t i = 0; i < op.counts.size(); ++i) {
    const size_t length = i + 1;
    const auto end = static_cast<size_t>(
        i + 1 < op.counts.size() ? op.counts[i + 1] : static_cast<int64_t>(pool.size()));
    for (auto at = static_cast<size_t>(op.counts[i]); at + length <= end; at += length)
      by_length[length].emplace(std::vector<T>(pool.begin() + static_cast<int64_t>(at),
                                               pool.begin() + static_cast<int64_t>(at + length)),
                                number++);
  }
  return by_length;
}

template <typename T>
void count(const TfIdf& op, const std::vector<Grams<T>>& grams, std::span<const T> x,
           std::vector<float>& found) {
  const auto n = static_cast<int64_t>(x.size());
  const int64_t longest = std::min(op.max_length, static_cast<int64_t>(grams.size()) - 1);
  for (int64_t length = op.min_length; length <= longest; ++length) {
    if (grams[static_cast<size_t>(length)].empty()) continue;
    // Single elements are the same whatever is skipped.
    const int64_t skips = length == 1 ? 0 : op.max_skip;
    for (int64_t step = 1; step <= std::min(skips, n) + 1; ++step)
      for (int64_t at = 0; at + step * (length - 1) < n; ++at) {
        std::vector<T> gram;
        for (int64_t k = 0; k < length; ++k) gram.push_back(x[static_cast<size_t>(at + k * step)]);
        const auto it = grams[static_cast<size_t>(length)].find(gram);
        if (it != grams[static_cast<size_t>(length)].end() && it->second < found.size())
          found[it->second] += 1;
      }
  }
}

}  // namespace

Result<TensorTypes> TfIdf::infer(const InferContext& context) const {
  const TensorType& x = context.type(0);
  const bool strings = !pool_strings.empty();
  if (x.is_list || (strings ? x.dtype != DType::string : !is_int(x.dtype)))
    return invalid_argument(
        fmt::format("tf_idf needs {}, not {}", strings ? "strings" : "integers", x.to_string()));
  const auto pool = static_cast<int64_t>(strings ? pool_strings.size() : pool_ints.size());
  if (min_length < 1 || max_length < min_length || max_skip < 0)
    return invalid_argument("tf_idf needs 1 <= min_length <= max_length and max_skip >= 0");
  if (!std::ranges::is_sorted(counts) ||
      (!counts.empty() && (counts.front() < 0 || counts.back() > pool)))
    return invalid_argument("tf_idf: the starts of n-grams do not fit the pool");
  if (indexes.empty() || (!weights.empty() && weights.size() != indexes.size()))
    return invalid_argument("tf_idf needs an index, and a weight where there are some, per n-gram");
  const auto [least, most] = std::ranges::minmax(indexes);
  if (least < 0 || most >= kMaxOutput)
    return invalid_argument(
        fmt::format("tf_idf: the index {} is out of range", least < 0 ? least : most));
  TensorType y{DType::f32, x.shape};
  if (!y.shape.ranked()) return TensorTypes{y};
  if (y.shape.rank() > 2 || y.shape.rank() == 0)
    return invalid_argument("tf_idf needs [n] or [batch, n], not " + x.to_string());
  y.shape[y.shape.rank() - 1] = most + 1;
  return TensorTypes{y};
}

Status TfIdf::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const int64_t n = x.dim(x.rank() - 1), size = y.dim(y.rank() - 1);
  std::fill_n(y.mutable_data<float>(), y.elements(), 0.0f);
  const auto run = [&](auto pool, auto load) {
    using T = typename decltype(pool)::value_type;
    const auto grams = grams_of<T>(*this, pool);
    std::vector<T> row(static_cast<size_t>(n));
    for (int64_t r = 0; r < y.elements() / size; ++r) {
      for (int64_t i = 0; i < n; ++i) row[static_cast<size_t>(i)] = load(r * n + i);
      std::vector<float> found(indexes.size(), 0.0f);
      count<T>(*this, grams, row, found);
      for (size_t g = 0; g < found.size(); ++g) {
        if (found[g] == 0) continue;
        const auto weight = static_cast<float>(weights.empty() ? 1 : weights[g]);
        float& out = y.mutable_data<float>()[r * size + indexes[g]];
        if (mode == TfIdfMode::idf)
          out = weight;
        else
          out += mode == TfIdfMode::tf ? found[g] : found[g] * weight;
      }
    }
  };
  if (x.dtype() == DType::string)
    run(pool_strings, [&](int64_t i) { return x.data<std::string>()[i]; });
  else
    run(pool_ints, [&](int64_t i) { return x.int_at(i); });
  return {};
}

constinit const OpDef TfIdf::def = define<TfIdf>();
OpDefs tf_idf_ops() {
  return {&TfIdf::def};
}

}  // namespace tenon
