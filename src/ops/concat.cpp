#include "ops/concat.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kMaxParts = 1 << 20;

// Sizes of the parts of a dimension; unknown ones where the dimension is.
Result<std::vector<Dim>> part_sizes(const Split& split, Dim whole) {
  std::vector<Dim> parts;
  if (split.sizes.empty()) {
    if (split.num < 1 || split.num > kMaxParts)
      return invalid_argument(
          fmt::format("split needs sizes or a positive num of parts, not {}", split.num));
    if (!whole.known())
      return std::vector<Dim>(static_cast<size_t>(split.num),
                              split.num == 1 ? whole : Dim::unknown());
    const int64_t chunk = (whole.size() + split.num - 1) / split.num;
    for (int64_t i = 0; i < split.num; ++i)
      parts.push_back(std::clamp<int64_t>(whole.size() - i * chunk, 0, chunk));
    return parts;
  }
  int64_t sum = 0;
  int rest = -1;
  for (size_t i = 0; i < split.sizes.size(); ++i) {
    const int64_t s = split.sizes[i];
    if (s < -1 || (s == -1 && rest >= 0) || (s > 0 && __builtin_add_overflow(sum, s, &sum)))
      return invalid_argument(fmt::format("split sizes [{}] must not be negative, but for one -1",
                                          fmt::join(split.sizes, ",")));
    if (s == -1) rest = static_cast<int>(i);
    parts.push_back(s < 0 ? Dim::unknown() : Dim(s));
  }
  if (!whole.known()) return parts;
  if (rest >= 0 ? sum > whole.size() : sum != whole.size())
    return invalid_argument(fmt::format("split sizes [{}] do not add up to the dimension {}",
                                        fmt::join(split.sizes, ","), whole.size()));
  if (rest >= 0) parts[static_cast<size_t>(rest)] = whole.size() - sum;
  return parts;
}

}  // namespace

Result<TensorTypes> Concat::infer(const InferContext& context) const {
  TRY(require_tensors(context, "concat"));
  TensorType out{context.dtype(0), Shape::unranked()};
  bool unranked = false;
  for (int i = 0; i < context.size(); ++i) {
    if (context.dtype(i) != out.dtype)
      return invalid_argument(fmt::format("concat needs operands of one type, not {} and {}",
                                          context.type(0).to_string(),
                                          context.type(i).to_string()));
    if (context.shape(i).ranked() && !out.shape.ranked()) out.shape = context.shape(i);
    unranked |= !context.shape(i).ranked();
  }
  if (!out.shape.ranked()) return TensorTypes{out};
  const int rank = out.shape.rank();
  const int a = TRY(normalize_axes(std::span(&axis, 1), rank, "concat"))[0];
  Dim sum = 0;
  for (int i = 0; i < context.size(); ++i) {
    const Shape& s = context.shape(i);
    if (!s.ranked()) continue;
    bool fits = s.rank() == rank;
    for (int d = 0; d < rank && fits; ++d) {
      if (d == a) continue;
      const auto merged = merge_dims(out.shape[d], s[d]);
      fits = merged.has_value();
      if (fits) out.shape[d] = *merged;
    }
    if (!fits)
      return invalid_argument(fmt::format("concat along dimension {}: {} and {} do not fit", axis,
                                          out.shape.to_string(), s.to_string()));
    sum = sum + s[a];
  }
  out.shape[a] = unranked ? Dim::unknown() : sum;
  return TensorTypes{out};
}

std::optional<SymInts> Concat::infer_ints(const InferContext& context) const {
  SymInts all;
  for (int i = 0; i < context.size(); ++i) {
    const auto part = small_ints_or_unknown(context, i);
    if (!part || context.shape(i).rank() != 1) return std::nullopt;
    all.insert(all.end(), part->begin(), part->end());
  }
  return all;
}

Status Concat::eval(EvalContext& context) const {
  Tensor& y = context.out(0);
  const int a = TRY(normalize_axis(axis, y.rank()));
  const int64_t outer = product(y.dims(), 0, a), row = product(y.dims(), a, y.rank());
  int64_t at = 0;
  for (int i = 0; i < context.size(); ++i) {
    const Tensor& x = context.in(i);
    const int64_t run = product(x.dims(), a, x.rank());
    for (int64_t o = 0; o < outer; ++o) copy_elements(y, o * row + at, x, o * run, run);
    at += run;
  }
  return {};
}

Result<TensorTypes> Split::infer(const InferContext& context) const {
  TRY(require_tensors(context, "split"));
  const TensorType& x = context.type(0);
  int a = 0;
  if (x.shape.ranked()) a = TRY(normalize_axes(std::span(&axis, 1), x.shape.rank(), "split"))[0];
  const auto parts = TRY(part_sizes(*this, x.shape.ranked() ? x.shape[a] : Dim::unknown()));
  TensorTypes out;
  for (const Dim d : parts) {
    out.push_back(x);
    if (x.shape.ranked()) out.back().shape[a] = d;
  }
  return out;
}

std::optional<SymInts> Split::infer_ints(const InferContext& context) const {
  auto ints = small_ints(context, 0);
  if (!ints || context.shape(0).rank() != 1) return std::nullopt;
  const auto parts = part_sizes(*this, context.shape(0)[0]);
  if (!parts.ok()) return std::nullopt;
  ints->resize(static_cast<size_t>((*parts)[0].size()));
  return ints;
}

Status Split::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const int a = TRY(normalize_axis(axis, x.rank()));
  const int64_t outer = product(x.dims(), 0, a), row = product(x.dims(), a, x.rank());
  int64_t at = 0;
  for (int i = 0; i < context.outputs(); ++i) {
    Tensor& y = context.out(i);
    const int64_t run = product(y.dims(), a, y.rank());
    for (int64_t o = 0; o < outer; ++o) copy_elements(y, o * run, x, o * row + at, run);
    at += run;
  }
  return {};
}

constinit const OpDef Concat::def = define<Concat>();
constinit const OpDef Split::def = define<Split>();
OpDefs concat_ops() {
  return {&Concat::def, &Split::def};
}

}  // namespace tenon
