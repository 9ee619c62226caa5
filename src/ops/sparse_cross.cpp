#include "ops/sparse_cross.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/string_hash.h"
#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kMostCrosses = int64_t{1} << 31;

// Two fingerprints made one, as FarmHash does.
uint64_t join_fingerprints(uint64_t a, uint64_t h) {
  constexpr uint64_t kMul = 0xc6a4a7935bd1e995;
  const auto mix = [](uint64_t v) { return v ^ (v >> 47); };
  const uint64_t y = mix((a ^ kMul ^ (mix(h * kMul) * kMul)) * kMul);
  return mix(y * kMul);
}

// The values of one feature in every row, as indices into its tensor.
struct Feature {
  const Tensor* values = nullptr;
  std::vector<std::vector<int64_t>> rows;
};

Result<Feature> sparse_feature(const EvalContext& context, int place, int value, int size,
                               int64_t rows) {
  const Tensor &places = context.in(place), &values = context.in(value);
  const int64_t n = values.elements();
  if (places.rank() != 2 || places.dim(0) != n || places.dim(1) != 2 ||
      context.in(size).elements() != 2 || context.in(size).int_at(0) != rows)
    return invalid_argument("sparse_cross: the features must be matrices of the same rows");
  Feature feature{&values, std::vector<std::vector<int64_t>>(static_cast<size_t>(rows))};
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = places.int_at(2 * i);
    if (row < 0 || row >= rows)
      return invalid_argument(fmt::format("sparse_cross: row {} of {}", row, rows));
    feature.rows[static_cast<size_t>(row)].push_back(i);
  }
  return feature;
}

Result<Feature> dense_feature(const Tensor& values, int64_t rows) {
  if (values.rank() != 2 || values.dim(0) != rows)
    return invalid_argument("sparse_cross: the features must be matrices of the same rows");
  Feature feature{&values, {}};
  for (int64_t r = 0; r < rows; ++r) {
    auto& row = feature.rows.emplace_back();
    for (int64_t k = 0; k < values.dim(1); ++k) row.push_back(r * values.dim(1) + k);
  }
  return feature;
}

}  // namespace

Result<TensorTypes> SparseCross::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (sparse < 0 || 3 * sparse > context.size() || buckets < 0 || key.size() > 1 ||
      (!salt.empty() && salt.size() != 2))
    return invalid_argument("sparse_cross: the attributes do not fit the operands");
  for (int i = 0; i < context.size(); ++i) {
    const bool is_value = (i >= sparse && i < 2 * sparse) || i >= 3 * sparse;
    const DType t = context.dtype(i);
    if (t != DType::i64 && (!is_value || t != DType::string))
      return invalid_argument("sparse_cross: places and sizes are i64, values strings or i64");
    TRY(nn::expect_rank(context, name, i, i < sparse || i >= 3 * sparse ? 2 : 1));
  }
  return TensorTypes{{DType::i64, Shape{Dim::unknown(), Dim(2)}},
                     {hashed ? DType::i64 : DType::string, Shape{Dim::unknown()}},
                     {DType::i64, Shape{Dim(2)}}};
}

Status SparseCross::eval(EvalContext& context) const {
  const auto n = static_cast<int>(sparse);
  const Tensor& first = context.in(n > 0 ? 2 * n : 0);
  if (first.elements() < 1 && n > 0) return invalid_argument("sparse_cross: a size is empty");
  const int64_t rows = n > 0 ? first.int_at(0) : first.rank() == 2 ? first.dim(0) : -1;
  if (rows < 0 || rows > kMostCrosses)
    return invalid_argument("sparse_cross: the number of rows is out of range");
  std::vector<Feature> features;
  features.reserve(static_cast<size_t>(context.size()));
  for (int i = 0; i < n; ++i)
    features.push_back(TRY(sparse_feature(context, i, n + i, 2 * n + i, rows)));
  for (int i = 3 * n; i < context.size(); ++i)
    features.push_back(TRY(dense_feature(context.in(i), rows)));
  // What a value of a feature contributes.
  const auto hash_of = [&](const Feature& f, int64_t i) -> uint64_t {
    if (f.values->dtype() != DType::string) return static_cast<uint64_t>(f.values->int_at(i));
    const std::string& text = f.values->data<std::string>()[i];
    return salt.empty()
               ? farm_fingerprint(text)
               : sip_hash(text, static_cast<uint64_t>(salt[0]), static_cast<uint64_t>(salt[1]));
  };
  const auto text_of = [&](const Feature& f, int64_t i) {
    return f.values->dtype() == DType::string ? f.values->data<std::string>()[i]
                                              : std::to_string(f.values->int_at(i));
  };
  const auto most =
      static_cast<uint64_t>(buckets > 0 ? buckets : std::numeric_limits<int64_t>::max());
  std::vector<int64_t> places, hashes;
  std::vector<std::string> texts;
  int64_t longest = 0;
  for (size_t r = 0; r < static_cast<size_t>(rows); ++r) {
    int64_t count = 1;
    for (const Feature& f : features)
      if (__builtin_mul_overflow(count, static_cast<int64_t>(f.rows[r].size()), &count) ||
          count > kMostCrosses)
        return resource_exhausted("sparse_cross: too many crosses of a row");
    longest = std::max(longest, count);
    std::vector<size_t> at(features.size());
    for (int64_t i = 0; i < count; ++i) {
      places.insert(places.end(), {static_cast<int64_t>(r), i});
      uint64_t hash = key.empty() ? 0 : static_cast<uint64_t>(key[0]);
      std::string text;
      for (size_t k = 0; k < features.size(); ++k) {
        const int64_t value = features[k].rows[r][at[k]];
        if (!hashed)
          text += (k == 0 ? "" : separator) + text_of(features[k], value);
        else if (k == 0 && key.empty())
          hash = hash_of(features[k], value);
        else
          hash = join_fingerprints(hash, hash_of(features[k], value));
      }
      if (hashed)
        hashes.push_back(static_cast<int64_t>(hash % most));
      else
        texts.push_back(std::move(text));
      // The last feature counts up first.
      for (size_t k = features.size(); k-- > 0;) {
        if (++at[k] < features[k].rows[r].size()) break;
        at[k] = 0;
      }
    }
  }
  const int64_t shape[] = {static_cast<int64_t>(places.size()) / 2, 2};
  TRY(context.allocate(0, DType::i64, shape));
  std::ranges::copy(places, context.out(0).mutable_data<int64_t>());
  TRY(context.allocate(1, hashed ? DType::i64 : DType::string, std::span(shape, 1)));
  if (hashed)
    std::ranges::copy(hashes, context.out(1).mutable_data<int64_t>());
  else
    std::ranges::move(texts, context.out(1).mutable_data<std::string>());
  context.out(2).mutable_data<int64_t>()[0] = rows;
  context.out(2).mutable_data<int64_t>()[1] = longest;
  return {};
}

constinit const OpDef SparseCross::def = define<SparseCross>();
OpDefs sparse_cross_ops() {
  return {&SparseCross::def};
}

}  // namespace tenon
