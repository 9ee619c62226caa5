#include "ops/reduce.h"

#include <fmt/format.h>

#include <cmath>
#include <complex>
#include <limits>
#include <utility>

#include "ops/registry.h"
#include "tensor/visit.h"

namespace tenon {
namespace {

using Complex = std::complex<double>;

bool accepts(ReduceKind kind, DType t) {
  switch (kind) {
    case ReduceKind::all:
    case ReduceKind::any:
      return t == DType::boolean;
    case ReduceKind::sum:
    case ReduceKind::mean:
    case ReduceKind::prod:
      return is_number(t);
    case ReduceKind::log_sum_exp:
      return is_float(t);
    default:
      return is_float(t) || is_int(t);
  }
}

// Calls f(i, o) for each input element i and the output element o it goes to.
template <typename F>
void each(const std::vector<int64_t>& dims, const std::vector<int64_t>& axes, F&& f) {
  const size_t rank = dims.size();
  std::vector<bool> reduced(rank, axes.empty());
  for (const int64_t a : axes)
    reduced[static_cast<size_t>(a < 0 ? a + static_cast<int64_t>(rank) : a)] = true;
  std::vector<int64_t> strides(rank, 0), index(rank, 0);
  int64_t step = 1, total = 1, o = 0;
  for (size_t i = rank; i-- > 0;) {
    total *= dims[i];
    if (reduced[i]) continue;
    strides[i] = step;
    step *= dims[i];
  }
  for (int64_t i = 0; i < total; ++i) {
    f(i, o);
    for (size_t a = rank; a-- > 0;) {
      o += strides[a];
      if (++index[a] < dims[a]) break;
      o -= strides[a] * dims[a];
      index[a] = 0;
    }
  }
}

double start(ReduceKind kind) {
  if (kind == ReduceKind::prod) return 1;
  if (kind == ReduceKind::max || kind == ReduceKind::log_sum_exp)
    return -std::numeric_limits<double>::infinity();
  return kind == ReduceKind::min ? std::numeric_limits<double>::infinity() : 0;
}

double fold(ReduceKind kind, double a, double v) {
  switch (kind) {
    case ReduceKind::prod:
      return a * v;
    case ReduceKind::max:
    case ReduceKind::log_sum_exp:
      return std::isnan(a) || a > v ? a : v;
    case ReduceKind::min:
      return std::isnan(a) || a < v ? a : v;
    case ReduceKind::sum_square:
      return a + v * v;
    default:
      return a + v;
  }
}

template <typename T>
void eval_float(ReduceKind kind, const std::vector<int64_t>& axes, EvalContext& context) {
  const auto load = [](T v) { return static_cast<double>(static_cast<Arithmetic<T>>(v)); };
  const Tensor& x = context.in(0);
  const T* in = x.data<T>();
  Tensor& y = context.out(0);
  const auto n = static_cast<size_t>(y.elements());
  std::vector<double> sums(n, start(kind));
  each(x.dims(), axes, [&](int64_t i, int64_t o) {
    double& a = sums[static_cast<size_t>(o)];
    a = fold(kind, a, load(in[i]));
  });
  if (kind == ReduceKind::log_sum_exp) {
    // Infinite maxima are not subtracted, so that they stay themselves.
    const std::vector<double> maxima = std::exchange(sums, std::vector<double>(n, 0));
    const auto shift = [&](size_t o) { return std::isinf(maxima[o]) ? 0 : maxima[o]; };
    each(x.dims(), axes, [&](int64_t i, int64_t o) {
      sums[static_cast<size_t>(o)] += std::exp(load(in[i]) - shift(static_cast<size_t>(o)));
    });
    for (size_t o = 0; o < n; ++o) sums[o] = std::log(sums[o]) + shift(o);
  }
  const double count = n == 0 ? 1 : static_cast<double>(x.elements()) / static_cast<double>(n);
  for (size_t o = 0; o < n; ++o)
    y.mutable_data<T>()[o] =
        T(static_cast<Arithmetic<T>>(kind == ReduceKind::mean ? sums[o] / count : sums[o]));
}

// W is int64_t or uint64_t; sums wrap.
template <typename W>
W fold_int(ReduceKind kind, W a, W v) {
  const auto ua = static_cast<uint64_t>(a), uv = static_cast<uint64_t>(v);
  switch (kind) {
    case ReduceKind::prod:
      return static_cast<W>(ua * uv);
    case ReduceKind::max:
      return std::max(a, v);
    case ReduceKind::min:
      return std::min(a, v);
    case ReduceKind::sum_square:
      return static_cast<W>(ua + uv * uv);
    default:
      return static_cast<W>(ua + uv);
  }
}

template <typename T>
void eval_int(ReduceKind kind, const std::vector<int64_t>& axes, EvalContext& context) {
  using W = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
  const Tensor& x = context.in(0);
  const T* in = x.data<T>();
  Tensor& y = context.out(0);
  const auto n = static_cast<size_t>(y.elements());
  W first = 0;
  if (kind == ReduceKind::prod) first = 1;
  if (kind == ReduceKind::max) first = static_cast<W>(std::numeric_limits<T>::min());
  if (kind == ReduceKind::min) first = static_cast<W>(std::numeric_limits<T>::max());
  std::vector<W> sums(n, first);
  each(x.dims(), axes, [&](int64_t i, int64_t o) {
    W& a = sums[static_cast<size_t>(o)];
    a = fold_int<W>(kind, a, static_cast<W>(in[i]));
  });
  const W count = n == 0 ? 1 : static_cast<W>(x.elements() / static_cast<int64_t>(n));
  for (size_t o = 0; o < n; ++o)
    y.mutable_data<T>()[o] =
        static_cast<T>(kind == ReduceKind::mean && count != 0 ? sums[o] / count : sums[o]);
}

template <typename T>
void eval_complex(ReduceKind kind, const std::vector<int64_t>& axes, EvalContext& context) {
  const Tensor& x = context.in(0);
  Tensor& y = context.out(0);
  const auto n = static_cast<size_t>(y.elements());
  std::vector<Complex> sums(n, kind == ReduceKind::prod ? 1 : 0);
  each(x.dims(), axes, [&](int64_t i, int64_t o) {
    Complex& a = sums[static_cast<size_t>(o)];
    const Complex v(x.data<T>()[i]);
    a = kind == ReduceKind::prod ? a * v : a + v;
  });
  const double count = n == 0 ? 1 : static_cast<double>(x.elements()) / static_cast<double>(n);
  for (size_t o = 0; o < n; ++o)
    y.mutable_data<T>()[o] = T(kind == ReduceKind::mean && count > 0 ? sums[o] / count : sums[o]);
}

}  // namespace

Result<TensorTypes> infer_reduce(ReduceKind kind, const std::vector<int64_t>& axes, bool keep_dims,
                                 const InferContext& context) {
  const TensorType& x = context.type(0);
  const std::string_view name = kReduceInfos[static_cast<size_t>(kind)].name;
  if (x.is_list || !accepts(kind, x.dtype))
    return invalid_argument(fmt::format("{} does not take {}", name, x.to_string()));
  TensorType out{x.dtype, Shape()};
  if (!x.shape.ranked()) {
    if (!axes.empty() || keep_dims) out.shape = Shape::unranked();
    return TensorTypes{out};
  }
  const int rank = x.shape.rank();
  std::vector<bool> reduced(static_cast<size_t>(rank), axes.empty());
  for (const int64_t a : axes) {
    if (a < -rank || a >= rank)
      return invalid_argument(fmt::format("{} over axis {} of {}: axes are from {} to {}", name, a,
                                          x.to_string(), -rank, rank - 1));
    reduced[static_cast<size_t>(a < 0 ? a + rank : a)] = true;
  }
  std::vector<Dim> dims;
  for (int i = 0; i < rank; ++i) {
    if (!reduced[static_cast<size_t>(i)])
      dims.push_back(x.shape[i]);
    else if (keep_dims)
      dims.push_back(1);
  }
  out.shape = Shape(std::move(dims));
  return TensorTypes{out};
}

Status eval_reduce(ReduceKind kind, const std::vector<int64_t>& axes, EvalContext& context) {
  const Tensor& x = context.in(0);
  if (x.dtype() == DType::boolean) {
    bool* out = context.out(0).mutable_data<bool>();
    const bool all = kind == ReduceKind::all;
    std::fill(out, out + context.out(0).elements(), all);
    const bool* in = x.data<bool>();
    each(x.dims(), axes, [&](int64_t i, int64_t o) {
      if (in[i] != all) out[o] = !all;
    });
  } else if (x.dtype() == DType::c64) {
    eval_complex<std::complex<float>>(kind, axes, context);
  } else if (x.dtype() == DType::c128) {
    eval_complex<Complex>(kind, axes, context);
  } else if (is_float(x.dtype())) {
    visit_float(x.dtype(),
                [&](auto tag) { eval_float<typename decltype(tag)::type>(kind, axes, context); });
  } else {
    visit_int(x.dtype(),
              [&](auto tag) { eval_int<typename decltype(tag)::type>(kind, axes, context); });
  }
  return {};
}

OpDefs reduce_ops() {
  return []<size_t... I>(std::index_sequence<I...>) {
    return OpDefs{&Reduce<static_cast<ReduceKind>(I)>::def...};
  }
  (std::make_index_sequence<kReduceInfos.size()>{});
}

}  // namespace tenon
