// Shape inference and reference evaluation of the matrix product.
#include "ops/matmul.h"

#include <complex>

#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

bool is_byte(DType t) {
  return t == DType::i8 || t == DType::u8;
}

// The matrices of one product inside larger tensors.
struct Geometry {
  std::vector<int64_t> batch;      // of the result
  std::vector<int64_t> a_strides;  // in matrices
  std::vector<int64_t> b_strides;
  int64_t batches = 1, m = 0, n = 0, k = 0;
};

Geometry geometry(const Tensor& a, const Tensor& b, const Tensor& y, bool transpose_a) {
  Geometry g;
  const auto leading = [](const Tensor& t) {
    return std::vector<int64_t>(t.dims().begin(), t.dims().end() - 2);
  };
  g.batch = leading(y);
  g.a_strides = nn::broadcast_strides(leading(a), g.batch);
  g.b_strides = nn::broadcast_strides(leading(b), g.batch);
  for (const int64_t d : g.batch) g.batches *= d;
  g.m = y.dim(y.rank() - 2), g.n = y.dim(y.rank() - 1);
  g.k = a.dim(a.rank() - (transpose_a ? 2 : 1));
  return g;
}

// Calls done(first element of the row in y, sums) for every row of the product.
template <typename A, typename B, typename Sum, typename Done>
void multiply(const Geometry& g, const A* a, bool ta, const B* b, bool tb, const Done& done) {
  std::vector<Sum> sums(static_cast<size_t>(g.n));
  for (int64_t i = 0; i < g.batches; ++i) {
    const A* pa = a + nn::offset_of(i, g.batch, g.a_strides) * g.m * g.k;
    const B* pb = b + nn::offset_of(i, g.batch, g.b_strides) * g.k * g.n;
    for (int64_t row = 0; row < g.m; ++row) {
      std::fill(sums.begin(), sums.end(), Sum{});
      for (int64_t k = 0; k < g.k; ++k) {
        const Sum v = static_cast<Sum>(ta ? pa[k * g.m + row] : pa[row * g.k + k]);
        for (int64_t col = 0; col < g.n; ++col)
          sums[static_cast<size_t>(col)] +=
              v * static_cast<Sum>(tb ? pb[col * g.k + k] : pb[k * g.n + col]);
      }
      done((i * g.m + row) * g.n, sums);
    }
  }
}

template <typename C>
void eval_complex(const EvalContext& context, const Geometry& g, bool ta, bool tb,
                  const std::vector<int64_t> (&strides)[2]) {
  const Tensor& y = context.out(0);
  using Wide = std::complex<double>;
  multiply<C, C, Wide>(
      g, context.in(0).data<C>(), ta, context.in(1).data<C>(), tb,
      [&](int64_t first, const std::vector<Wide>& sums) {
        for (size_t j = 0; j < sums.size(); ++j) {
          const int64_t at = first + static_cast<int64_t>(j);
          Wide v = sums[j];
          for (const int i : {2, 3})
            if (context.has(i))
              v += static_cast<Wide>(
                  context.in(i).data<C>()[nn::offset_of(at, y.dims(), strides[i - 2])]);
          context.out(0).mutable_data<C>()[at] = static_cast<C>(v);
        }
      });
}

}  // namespace

Result<TensorTypes> Matmul::infer(const InferContext& context) const {
  const DType a_type = context.dtype(0), b_type = context.dtype(1);
  const bool bytes = is_byte(a_type) && is_byte(b_type);
  if (context.type(0).is_list || context.type(1).is_list ||
      !(bytes || (a_type == b_type && is_number(a_type)) || nn::takes_weights(a_type, b_type)))
    return invalid_argument(
        fmt::format("matmul needs two matrices of one number type, not {} and {}",
                    context.type(0).to_string(), context.type(1).to_string()));
  const DType type = TRY(nn::product_type(bytes ? DType::i32 : a_type, result, name));
  if (!is_float(type) && (alpha != 1 || activation != ActivationKind::none))
    return invalid_argument(
        "matmul of integers or complex numbers takes no alpha and no activation");
  if (!is_fusable(activation)) return invalid_argument("matmul cannot apply this activation");
  for (const int i : {2, 3})
    if (context.has(i) && context.dtype(i) != type && !(i == 3 && context.dtype(i) == a_type))
      return invalid_argument(fmt::format("matmul: operand {} is {}, but the result is {}", i,
                                          context.type(i).to_string(), dtype_name(type)));
  const Shape& a = context.shape(0);
  const Shape& b = context.shape(1);
  TRY(nn::expect_rank(context, name, 0, 2, nn::kAnyRank));
  TRY(nn::expect_rank(context, name, 1, 2, nn::kAnyRank));
  if (!a.ranked() || !b.ranked()) {
    if (context.has(3)) return TensorTypes{{type, context.shape(3)}};
    return TensorTypes{{type, Shape::unranked()}};
  }
  const Dim m = a[a.rank() - (transpose_a ? 1 : 2)], ka = a[a.rank() - (transpose_a ? 2 : 1)];
  const Dim kb = b[b.rank() - (transpose_b ? 1 : 2)], n = b[b.rank() - (transpose_b ? 2 : 1)];
  if (ka.known() && kb.known() && ka != kb)
    return invalid_argument(
        fmt::format("matmul cannot multiply {}{} by {}{}: the inner dimensions {} and {} differ",
                    a.to_string(), transpose_a ? " transposed" : "", b.to_string(),
                    transpose_b ? " transposed" : "", ka.size(), kb.size()));
  const auto batch = [](const Shape& s) {
    return Shape(std::vector<Dim>(s.dims().begin(), s.dims().end() - 2));
  };
  TensorType out{type, TRY(broadcast_shapes(batch(a), batch(b)))};
  out.shape.dims().push_back(m);
  out.shape.dims().push_back(n);
  TRY(nn::expect_broadcastable(context, name, 2, out.shape));
  TRY(nn::expect_broadcastable(context, name, 3, out.shape));
  return TensorTypes{out};
}

Status Matmul::eval(EvalContext& context) const {
  const Tensor& a = context.in(0);
  const Tensor& b = context.in(1);
  Tensor& y = context.out(0);
  const Geometry g = geometry(a, b, y, transpose_a);
  std::vector<int64_t> strides[2];
  for (const int i : {2, 3})
    if (context.has(i)) strides[i - 2] = nn::broadcast_strides(context.in(i).dims(), y.dims());
  if (is_float(y.dtype())) {
    const auto va = nn::reals(a), vb = nn::reals(b);
    std::vector<double> values(static_cast<size_t>(y.elements()));
    multiply<double, double, double>(
        g, va.data(), transpose_a, vb.data(), transpose_b,
        [&](int64_t first, const std::vector<double>& sums) {
          for (size_t j = 0; j < sums.size(); ++j) {
            const int64_t at = first + static_cast<int64_t>(j);
            double v = alpha * sums[j];
            for (const int i : {2, 3})
              if (context.has(i))
                v += context.in(i).real_at(nn::offset_of(at, y.dims(), strides[i - 2]));
            values[static_cast<size_t>(at)] = activate(activation, act_alpha, act_beta, v);
          }
        });
    nn::store_reals(y, values);
    return {};
  }
  if (y.dtype() == DType::c64 || y.dtype() == DType::c128) {
    if (y.dtype() == DType::c64)
      eval_complex<std::complex<float>>(context, g, transpose_a, transpose_b, strides);
    else
      eval_complex<std::complex<double>>(context, g, transpose_a, transpose_b, strides);
    return {};
  }
  // Modulo 2^64, which wraps to the result's width as integer arithmetic does.
  const auto ia = a.to_ints(), ib = b.to_ints();
  visit_int(y.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = y.mutable_data<T>();
    multiply<int64_t, int64_t, uint64_t>(g, ia.data(), transpose_a, ib.data(), transpose_b,
                                         [&](int64_t first, const std::vector<uint64_t>& sums) {
                                           for (size_t j = 0; j < sums.size(); ++j) {
                                             const int64_t at = first + static_cast<int64_t>(j);
                                             uint64_t v = sums[j];
                                             for (const int i : {2, 3})
                                               if (context.has(i))
                                                 v += static_cast<uint64_t>(context.in(i).int_at(
                                                     nn::offset_of(at, y.dims(), strides[i - 2])));
                                             out[at] = static_cast<T>(v);
                                           }
                                         });
  });
  return {};
}

int64_t Matmul::flops(std::span<const TensorType> in, std::span<const TensorType> out) const {
  const auto outputs = out[0].shape.elements();
  const Shape& a = in[0].shape;
  if (!outputs || a.rank() < 2) return 0;
  return nn::operations({2, *outputs, a[a.rank() - (transpose_a ? 2 : 1)].size_or(0)});
}

constinit const OpDef Matmul::def = define<Matmul>();
OpDefs matmul_ops() {
  return {&Matmul::def};
}

}  // namespace tenon
