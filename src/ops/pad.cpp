#include "ops/pad.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

struct Amount {
  int axis;
  SymInt begin;
  SymInt end;
};

Result<std::vector<Amount>> amounts(const Pad& op, int rank, const SymInts& pads) {
  std::vector<int64_t> axes = op.axes;
  if (axes.empty())
    for (int i = 0; i < rank; ++i) axes.push_back(i);
  const auto normal = TRY(normalize_axes(axes, rank, "pad"));
  const size_t n = normal.size();
  if (pads.size() != 2 * n)
    return invalid_argument(
        fmt::format("pad needs {} pads, two for each of {} axes, not {}", 2 * n, n, pads.size()));
  std::vector<Amount> result;
  for (size_t i = 0; i < n; ++i) result.push_back({normal[i], pads[i], pads[n + i]});
  return result;
}

}  // namespace

int64_t pad_source(PadMode mode, int64_t at, int64_t n) {
  if (at >= 0 && at < n) return at;
  const auto modulo = [](int64_t a, int64_t m) { return ((a % m) + m) % m; };
  switch (mode) {
    case PadMode::constant:
      return -1;
    case PadMode::edge:
      return std::clamp<int64_t>(at, 0, n - 1);
    case PadMode::wrap:
      return modulo(at, n);
    case PadMode::reflect: {
      if (n == 1) return 0;
      const int64_t m = modulo(at, 2 * (n - 1));
      return m < n ? m : 2 * (n - 1) - m;
    }
    case PadMode::symmetric: {
      const int64_t m = modulo(at, 2 * n);
      return m < n ? m : 2 * n - 1 - m;
    }
  }
  return -1;
}

Result<TensorTypes> Pad::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 1, name, "pads", 1));
  TensorType out = context.type(0);
  if (context.has(2)) {
    const auto n = context.shape(2).elements();
    if (context.dtype(2) != out.dtype || (n && *n != 1))
      return invalid_argument(fmt::format("pad: the value {} must be one {}",
                                          context.type(2).to_string(), dtype_name(out.dtype)));
  }
  if (!out.shape.ranked()) {
    // Two pads for every dim tell how many there are.
    const Shape& pads = context.shape(1);
    constexpr int64_t kMost = 64;  // dims; more are no tensor
    if (axes.empty() && pads.ranked() && pads.rank() == 1 && pads[0].size_or(2 * kMost) < 2 * kMost)
      out.shape = Shape::unknown_dims(static_cast<int>(pads[0].size() / 2));
    return TensorTypes{out};
  }
  const int rank = out.shape.rank();
  const auto pads = context.ints(1);
  if (!pads) {
    const auto touched = TRY(normalize_axes(axes, rank, name));
    if (touched.empty()) out.shape = Shape::unknown_dims(rank);
    for (const int axis : touched) out.shape[axis] = Dim::unknown();
    return TensorTypes{out};
  }
  for (const Amount& a : TRY(amounts(*this, rank, *pads))) {
    Dim& d = out.shape[a.axis];
    if (!a.begin.value || !a.end.value) {
      d = Dim::unknown();
      continue;
    }
    int64_t sum = 0;
    if (__builtin_add_overflow(*a.begin.value, *a.end.value, &sum))
      return invalid_argument("pad: the pads are out of range");
    if (!d.known()) {
      if (*a.begin.value != 0 || *a.end.value != 0) d = Dim::unknown();
      continue;
    }
    const bool grows = *a.begin.value > 0 || *a.end.value > 0;
    if (mode != PadMode::constant && d.size() == 0 && grows)
      return invalid_argument(
          fmt::format("pad: dimension {} of {} is empty, there is nothing to "
                      "continue",
                      a.axis, context.type(0).to_string()));
    int64_t total = 0;
    if (__builtin_add_overflow(d.size(), sum, &total) || total < 0)
      return invalid_argument(fmt::format("pad: dimension {} of {} cannot be padded by {} and {}",
                                          a.axis, context.type(0).to_string(), *a.begin.value,
                                          *a.end.value));
    d = total;
  }
  return TensorTypes{out};
}

Result<std::vector<int64_t>> Pad::begins(int rank, const Tensor& pads) const {
  SymInts amounts_given;
  for (const int64_t v : pads.to_ints()) amounts_given.push_back({v});
  std::vector<int64_t> begins(static_cast<size_t>(rank));
  for (const Amount& a : TRY(amounts(*this, rank, amounts_given)))
    begins[static_cast<size_t>(a.axis)] = *a.begin.value;
  return begins;
}

Status Pad::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const int rank = x.rank();
  if (y.elements() == 0) return {};
  const std::vector<int64_t> begins = TRY(this->begins(rank, context.in(1)));
  // Per axis: the offset in x of each position of y, or -1.
  const auto strides = row_major_strides(x.dims());
  std::vector<std::vector<int64_t>> maps(static_cast<size_t>(rank));
  for (int d = 0; d < rank; ++d) {
    const auto u = static_cast<size_t>(d);
    for (int64_t i = 0; i < y.dim(d); ++i) {
      const int64_t from = pad_source(mode, i - begins[u], x.dim(d));
      maps[u].push_back(from < 0 ? -1 : from * strides[u]);
    }
  }
  visit_storage(x.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = static_cast<const T*>(x.raw());
    T* to = static_cast<T*>(y.mutable_raw());
    const T value = context.has(2) ? *static_cast<const T*>(context.in(2).raw()) : T{};
    const int64_t run = rank > 0 ? y.dim(rank - 1) : 1;
    const int64_t rows = y.elements() / run;
    for (int64_t r = 0; r < rows; ++r) {
      int64_t rest = r, base = 0;
      bool inside = true;
      for (int d = rank - 2; d >= 0; --d) {
        const int64_t offset = maps[static_cast<size_t>(d)][static_cast<size_t>(rest % y.dim(d))];
        rest /= y.dim(d);
        inside &= offset >= 0;
        base += offset;
      }
      for (int64_t i = 0; i < run; ++i) {
        const int64_t offset = rank > 0 ? maps.back()[static_cast<size_t>(i)] : 0;
        *to++ = inside && offset >= 0 ? from[base + offset] : value;
      }
    }
  });
  return {};
}

constinit const OpDef Pad::def = define<Pad>();
OpDefs pad_ops() {
  return {&Pad::def};
}

}  // namespace tenon
