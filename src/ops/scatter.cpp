#include "ops/scatter.h"

#include <fmt/format.h>

#include <algorithm>
#include <complex>
#include <limits>
#include <type_traits>

#include "ops/movement.h"
#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

// Of integers towards zero; what cannot be divided stays.
template <typename T>
T quotient(T p, T q) {
  if constexpr (std::is_integral_v<T>) {
    if (q == 0) return p;
    if constexpr (std::is_signed_v<T>)
      if (q == -1) return static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(p));
  }
  return static_cast<T>(p / q);
}

// y[to + i] combined with u[from + i].
void combine(ScatterReduction reduction, Tensor& y, int64_t to, const Tensor& u, int64_t from,
             int64_t count) {
  if (reduction == ScatterReduction::none) return copy_elements(y, to, u, from, count);
  const auto complex = [&]<typename T>(TypeTag<T>) {
    for (int64_t i = 0; i < count; ++i) {
      T& a = y.mutable_data<T>()[to + i];
      const T& b = u.data<T>()[from + i];
      a = reduction == ScatterReduction::add   ? a + b
          : reduction == ScatterReduction::mul ? a * b
                                               : a / b;
    }
  };
  if (y.dtype() == DType::c64) return complex(TypeTag<std::complex<float>>{});
  if (y.dtype() == DType::c128) return complex(TypeTag<std::complex<double>>{});
  visit_real(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = Arithmetic<T>;
    T* a = y.mutable_data<T>() + to;
    const T* b = u.data<T>() + from;
    for (int64_t i = 0; i < count; ++i) {
      const A p = static_cast<A>(a[i]), q = static_cast<A>(b[i]);
      A r = q;
      if (reduction == ScatterReduction::add) r = static_cast<A>(p + q);
      if (reduction == ScatterReduction::mul) r = static_cast<A>(p * q);
      if (reduction == ScatterReduction::min) r = std::min(p, q);
      if (reduction == ScatterReduction::max) r = std::max(p, q);
      if (reduction == ScatterReduction::div) r = quotient(p, q);
      a[i] = T(r);
    }
  });
}

Status check_types(const InferContext& context, ScatterReduction reduction, std::string_view op) {
  TRY(require_tensors(context, op));
  TRY(require_indices(context, 1, op, "indices"));
  const DType dtype = context.dtype(0);
  if (context.dtype(2) != dtype)
    return invalid_argument(fmt::format("{}: data {} and updates {} differ in type", op,
                                        context.type(0).to_string(), context.type(2).to_string()));
  const bool ordered = reduction == ScatterReduction::min || reduction == ScatterReduction::max;
  if (reduction != ScatterReduction::none && !is_float(dtype) && !is_int(dtype) &&
      (ordered || !is_complex(dtype)))
    return invalid_argument(
        fmt::format("{}: {} cannot be combined", op, context.type(0).to_string()));
  return {};
}

// The output begins as a copy of the data, never as the data itself.
Status start_from_data(EvalContext& context) {
  if (!context.out(0).defined()) context.out(0) = TRY(context.in(0).clone());
  return forward(context);
}

bool contradict(Dim a, Dim b) {
  return !merge_dims(a, b).has_value();
}

}  // namespace

Result<TensorTypes> ScatterNd::infer(const InferContext& context) const {
  TRY(check_types(context, reduction, name));
  const Shape& x = context.shape(0);
  const Shape& indices = context.shape(1);
  const Shape& updates = context.shape(2);
  if (!x.ranked() || !indices.ranked() || !updates.ranked()) return TensorTypes{context.type(0)};
  const int last = indices.rank() - 1;
  bool fits = last >= 0 && updates.rank() >= last;
  for (int i = 0; i < last && fits; ++i) fits = !contradict(indices[i], updates[i]);
  if (fits && indices[last].known()) {
    const int64_t depth = indices[last].size();
    fits = depth <= x.rank() && updates.rank() == last + x.rank() - depth;
    for (int i = static_cast<int>(depth); i < x.rank() && fits; ++i)
      fits = !contradict(x[i], updates[last + i - static_cast<int>(depth)]);
  }
  if (!fits)
    return invalid_argument(fmt::format("scatter_nd: data {}, indices {} and updates {} do not fit",
                                        x.to_string(), indices.to_string(), updates.to_string()));
  return TensorTypes{context.type(0)};
}

Status ScatterNd::eval(EvalContext& context) const {
  const Tensor& indices = context.in(1);
  TRY(start_from_data(context));
  Tensor& y = context.out(0);
  const int last = indices.rank() - 1;
  const int64_t depth = indices.dim(last), count = product(indices.dims(), 0, last),
                run = product(y.dims(), static_cast<int>(depth), y.rank());
  for (int64_t i = 0; i < count; ++i) {
    int64_t place = 0;
    for (int k = 0; k < depth; ++k)
      place = place * y.dim(k) + TRY(wrap_index(indices.int_at(i * depth + k), y.dim(k), name));
    combine(reduction, y, place * run, context.in(2), i * run, run);
  }
  return {};
}

Result<TensorTypes> ScatterElements::infer(const InferContext& context) const {
  TRY(check_types(context, reduction, name));
  const Shape& x = context.shape(0);
  const Shape& indices = context.shape(1);
  const auto merged = merge_shapes(indices, context.shape(2));
  bool fits = merged.has_value();
  if (x.ranked()) {
    const int a = TRY(normalize_axes(std::span(&axis, 1), x.rank(), name))[0];
    fits &= !indices.ranked() || indices.rank() == x.rank();
    for (int i = 0; i < indices.rank() && fits; ++i)
      fits = i == a || !x[i].known() || !indices[i].known() || indices[i].size() <= x[i].size();
  }
  if (!fits)
    return invalid_argument(
        fmt::format("scatter_elements: data {}, indices {} and updates {} do not fit",
                    x.to_string(), indices.to_string(), context.shape(2).to_string()));
  return TensorTypes{context.type(0)};
}

Status ScatterElements::eval(EvalContext& context) const {
  const Tensor& indices = context.in(1);
  TRY(start_from_data(context));
  Tensor& y = context.out(0);
  const int a = TRY(normalize_axis(axis, y.rank()));
  const auto strides = row_major_strides(y.dims());
  for (int64_t i = 0; i < indices.elements(); ++i) {
    int64_t rest = i, place = 0;
    for (int d = y.rank() - 1; d >= 0; --d) {
      int64_t at = rest % indices.dim(d);
      rest /= indices.dim(d);
      if (d == a) at = TRY(wrap_index(indices.int_at(i), y.dim(d), name));
      place += at * strides[static_cast<size_t>(d)];
    }
    combine(reduction, y, place, context.in(2), i, 1);
  }
  return {};
}

namespace {

template <typename A>
constexpr bool is_complex_value = false;
template <typename A>
constexpr bool is_complex_value<std::complex<A>> = true;

// The largest finite value, or the lowest.
template <typename T>
T most_extreme(bool largest) {
  if constexpr (std::is_same_v<T, Half>)
    return T(largest ? 65504.0f : -65504.0f);
  else if constexpr (std::is_same_v<T, BFloat16>)
    return T(largest ? 0x1.fep127f : -0x1.fep127f);
  else if constexpr (is_complex_value<T>)
    return T();
  else
    return largest ? std::numeric_limits<T>::max() : std::numeric_limits<T>::lowest();
}

template <typename A>
A combined(SegmentReduction kind, const A& a, const A& b) {
  if (kind == SegmentReduction::prod) return static_cast<A>(a * b);
  if constexpr (!is_complex_value<A>) {
    if (kind == SegmentReduction::max) return std::max(a, b);
    if (kind == SegmentReduction::min) return std::min(a, b);
  }
  return static_cast<A>(a + b);
}

// How many segments ids tell of.
int64_t segments_of(const Tensor& ids) {
  int64_t last = 0;
  for (int64_t i = 0; i < ids.elements(); ++i) last = std::max(last, ids.int_at(i));
  return ids.elements() == 0 ? 0 : std::min(last, std::numeric_limits<int64_t>::max() - 1) + 1;
}

}  // namespace

Result<TensorTypes> SegmentReduce::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(require_indices(context, 1, name, "ids"));
  if (context.has(2)) TRY(require_indices(context, 2, name, "the number of segments"));
  const Shape& x = context.shape(0);
  const Shape& ids = context.shape(1);
  TensorType out{context.dtype(0), Shape::unranked()};
  if (!is_float(out.dtype) && !is_int(out.dtype) && (extreme() || !is_complex(out.dtype)))
    return invalid_argument(
        fmt::format("segment_reduce cannot combine {}", context.type(0).to_string()));
  if (!x.ranked() || !ids.ranked()) return TensorTypes{out};
  bool fits = ids.rank() >= 1 && ids.rank() <= x.rank();
  for (int i = 0; i < ids.rank() && fits; ++i) fits = !contradict(x[i], ids[i]);
  if (!fits)
    return invalid_argument(
        fmt::format("segment_reduce: ids {} do not fit data {}", ids.to_string(), x.to_string()));
  Dim n = Dim::unknown();
  if (context.has(2))
    if (const auto num = context.ints(2); num && num->size() == 1) {
      if ((*num)[0].value && *(*num)[0].value < 0)
        return invalid_argument("segment_reduce: the number of segments is negative");
      n = (*num)[0].as_dim();
    }
  if (const Tensor* known = context.constant(1); known != nullptr && !context.has(2))
    n = segments_of(*known);
  out.shape = Shape{n};
  for (int i = ids.rank(); i < x.rank(); ++i) out.shape.dims().push_back(x[i]);
  return TensorTypes{out};
}

Status SegmentReduce::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto ids = context.in(1).to_ints();
  const bool sorted = !context.has(2);
  if (sorted) {
    std::vector<int64_t> dims{segments_of(context.in(1))};
    dims.insert(dims.end(), x.dims().begin() + context.in(1).rank(), x.dims().end());
    TRY(context.allocate(0, x.dtype(), dims));
  }
  Tensor& y = context.out(0);
  const int64_t segments = y.dim(0), run = product(y.dims(), 1, y.rank());
  std::vector<int64_t> counts(static_cast<size_t>(segments));
  for (const int64_t id : ids) {
    if (id >= segments)
      return invalid_argument(fmt::format("segment_reduce: id {} with {} segments", id, segments));
    if (id >= 0) ++counts[static_cast<size_t>(id)];
  }
  const SegmentReduction kind = reduction;
  const auto reduce = [&]<typename T>(TypeTag<T>) {
    using A = Arithmetic<T>;
    // TensorFlow: segments without slices are 0 in the sorted form, else the start value.
    A first(kind == SegmentReduction::prod ? 1 : 0);
    if (extreme()) first = static_cast<A>(most_extreme<T>(kind == SegmentReduction::min));
    std::vector<A> sums(static_cast<size_t>(y.elements()), first);
    const T* px = x.data<T>();
    const auto add_slices = [&](auto join) {
      for (size_t i = 0; i < ids.size(); ++i) {
        if (ids[i] < 0) continue;
        A* to = sums.data() + ids[i] * run;
        const T* from = px + static_cast<int64_t>(i) * run;
        for (int64_t k = 0; k < run; ++k) to[k] = join(to[k], static_cast<A>(from[k]));
      }
    };
    // Sums of floats, the commonest, in loops that do not ask what they do for each element.
    const bool adds = kind == SegmentReduction::sum || kind == SegmentReduction::mean;
    if (std::is_same_v<T, float> && adds)
      add_slices([](A a, A b) { return a + b; });
    else
      add_slices([kind](A a, A b) { return combined<A>(kind, a, b); });
    T* py = y.mutable_data<T>();
    for (int64_t i = 0; i < y.elements(); ++i) {
      A v = sums[static_cast<size_t>(i)];
      const int64_t n = counts[static_cast<size_t>(i / std::max<int64_t>(run, 1))];
      if (kind == SegmentReduction::mean && n > 0) v = static_cast<A>(v / static_cast<A>(n));
      if (n == 0 && sorted && extreme()) v = A(0);
      py[i] = T(v);
    }
  };
  if (x.dtype() == DType::c64)
    reduce(TypeTag<std::complex<float>>{});
  else if (x.dtype() == DType::c128)
    reduce(TypeTag<std::complex<double>>{});
  else
    visit_real(x.dtype(), reduce);
  return {};
}

constinit const OpDef ScatterNd::def = define<ScatterNd>();
constinit const OpDef ScatterElements::def = define<ScatterElements>();
constinit const OpDef SegmentReduce::def = define<SegmentReduce>();
OpDefs scatter_ops() {
  return {&ScatterNd::def, &ScatterElements::def, &SegmentReduce::def};
}

}  // namespace tenon
