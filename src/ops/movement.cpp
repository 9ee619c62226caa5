#include "ops/movement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {

std::vector<int64_t> row_major_strides(std::span<const int64_t> dims) {
  std::vector<int64_t> strides(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    // Nothing moves in a tensor without elements, or of sizes that no tensor has.
    if (__builtin_mul_overflow(stride, dims[i], &stride) || stride == 0)
      return std::vector<int64_t>(dims.size(), 0);
  }
  return strides;
}

int64_t product(std::span<const int64_t> dims, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= dims[static_cast<size_t>(i)];
  return n;
}

Dim product_of(const Shape& shape) {
  if (!shape.ranked()) return Dim::unknown();
  Dim n = 1;
  // A zero settles it, whatever the others are.
  for (const Dim d : shape.dims())
    if (d == Dim(0)) return 0;
  for (const Dim d : shape.dims()) n = n * d;
  return n;
}

void copy_elements(Tensor& dst, int64_t dst_offset, const Tensor& src, int64_t src_offset,
                   int64_t count) {
  if (count <= 0) return;
  if (src.dtype() == DType::string) {
    std::copy_n(src.data<std::string>() + src_offset, count,
                dst.mutable_data<std::string>() + dst_offset);
    return;
  }
  const auto size = static_cast<int64_t>(dtype_size(src.dtype()));
  std::memcpy(static_cast<char*>(dst.mutable_raw()) + dst_offset * size,
              static_cast<const char*>(src.raw()) + src_offset * size,
              static_cast<size_t>(count * size));
}

void copy_strided(const Tensor& src, int64_t offset, std::span<const int64_t> strides,
                  Tensor& dst) {
  if (dst.elements() == 0) return;
  // Neighbouring axes that form one run are walked as one.
  std::vector<int64_t> dims, steps;
  for (size_t i = 0; i < strides.size(); ++i) {
    const int64_t d = dst.dims()[i];
    if (d == 1) continue;
    if (!dims.empty() && steps.back() == d * strides[i]) {
      dims.back() *= d;
      steps.back() = strides[i];
    } else {
      dims.push_back(d);
      steps.push_back(strides[i]);
    }
  }
  if (dims.empty()) dims.push_back(1), steps.push_back(1);
  const size_t inner = dims.size() - 1;
  const int64_t n = dims[inner], step = steps[inner];
  visit_storage(src.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = static_cast<const T*>(src.raw()) + offset;
    T* to = static_cast<T*>(dst.mutable_raw());
    std::vector<int64_t> index(dims.size());
    for (;;) {
      if (step == 1)
        std::copy_n(from, n, to);
      else
        for (int64_t i = 0; i < n; ++i) to[i] = from[i * step];
      to += n;
      size_t axis = inner;
      while (axis-- > 0) {
        from += steps[axis];
        if (++index[axis] < dims[axis]) break;
        from -= steps[axis] * dims[axis];
        index[axis] = 0;
        if (axis == 0) return;
      }
      if (axis == static_cast<size_t>(-1)) return;
    }
  });
}

void copy_view(const Tensor& src, const StridedView& view, Tensor& dst) {
  Tensor seen = dst.reshaped(view.dims);
  copy_strided(src, view.offset, view.strides, seen);
}

Status forward(EvalContext& context) {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  if (x.is_list() || !y.defined() || y.elements() != x.elements())
    y = x;
  else if (y.raw() != x.raw())
    copy_elements(y, 0, x, 0, x.elements());
  return {};
}

Status require_tensors(const InferContext& context, std::string_view op) {
  for (int i = 0; i < context.size(); ++i)
    if (context.type(i).is_list)
      return invalid_argument(
          fmt::format("{} takes tensors, operand {} is a {}", op, i, context.type(i).to_string()));
  if (context.size() > 0 && !context.has(0))
    return invalid_argument(fmt::format("{} needs its first operand", op));
  return {};
}

Status require_indices(const InferContext& context, int i, std::string_view op,
                       std::string_view what, int rank) {
  const DType dtype = context.dtype(i);
  if (dtype != DType::i32 && dtype != DType::i64)
    return invalid_argument(fmt::format("{} needs {} of type i32 or i64, not {}", op, what,
                                        context.type(i).to_string()));
  if (rank >= 0 && context.shape(i).ranked() && context.shape(i).rank() != rank)
    return invalid_argument(
        fmt::format("{} needs {} of rank {}, not {}", op, what, rank, context.type(i).to_string()));
  return {};
}

std::optional<SymInts> small_ints(const InferContext& context, int i) {
  constexpr int64_t kSmall = 64;
  if (!context.has(i) || context.type(i).is_list || !is_int(context.dtype(i))) return std::nullopt;
  const auto n = context.shape(i).elements();
  if (!n || *n > kSmall) return std::nullopt;
  auto ints = context.ints(i);
  if (ints && static_cast<int64_t>(ints->size()) != *n) return std::nullopt;
  return ints;
}

std::optional<SymInts> small_ints_or_unknown(const InferContext& context, int i) {
  constexpr int64_t kSmall = 64;
  if (auto ints = small_ints(context, i)) return ints;
  if (!context.has(i) || context.type(i).is_list || !is_int(context.dtype(i))) return std::nullopt;
  const auto n = context.shape(i).elements();
  if (!n || *n > kSmall) return std::nullopt;
  return SymInts(static_cast<size_t>(*n));
}

Result<std::vector<int>> normalize_axes(std::span<const int64_t> axes, int rank,
                                        std::string_view op) {
  std::vector<int> result;
  for (const int64_t axis : axes) {
    auto a = normalize_axis(axis, rank);
    if (!a.ok())
      return invalid_argument(
          fmt::format("{}: axis {} is outside of a tensor of rank {}", op, axis, rank));
    if (std::find(result.begin(), result.end(), *a) != result.end())
      return invalid_argument(fmt::format("{}: axis {} is given twice", op, axis));
    result.push_back(*a);
  }
  return result;
}

std::optional<Dim> merge_dims(Dim a, Dim b) {
  if (a.known() && b.known() && a != b) return std::nullopt;
  if (a.known()) return a;
  if (b.known()) return b;
  return a.is_symbol() ? a : b;
}

Result<int64_t> wrap_index(int64_t index, int64_t size, std::string_view op) {
  if (index < -size || index >= size)
    return invalid_argument(
        fmt::format("{}: index {} is outside of [{}, {})", op, index, -size, size));
  return index < 0 ? index + size : index;
}

OpDefs movement_ops() {
  return {};
}

}  // namespace tenon
