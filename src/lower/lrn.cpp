// Local response normalisation: the sum over neighbouring channels is a product with a matrix of
// ones around the diagonal.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lower/elementwise.h"
#include "lower/pack.h"
#include "lower/product.h"
#include "lower/vector_core.h"
#include "ops/norm.h"

namespace tenon::lower {

Status lower_lrn(Lowering& lowering, const Node& node) {
  const Lrn op = *node.as<Lrn>();
  const int64_t n = count_of(dims_of(node.input(0))), c = dims_of(node.input(0)).back();
  constexpr int64_t kMostChannels = 8192;  // of a square band of ones
  if (c > kMostChannels) return unsupported(fmt::format("it is over {} channels", c));
  const std::string layer = layer_of(node);
  const int x = lowering.tensor_of(node.input(0));
  const DType real = lowering.real();
  const int squares = lowering.scratch(layer + ".squares", real, n);
  const int sums = lowering.scratch(layer + ".sums", real, n);

  // Scaled before they are squared, so that f16 holds what they are of large numbers.
  Elementwise square;
  square.dims = {n};
  square.strides = {1};
  square.operands = {{"x", x, {1}}};
  square.results = {squares};
  const double scale = std::sqrt(std::abs(op.alpha) / static_cast<double>(op.size));
  square.compute = [scale](VectorCode& code,
                           std::span<const Register> in) -> Result<std::vector<Register>> {
    const Register scaled = code.binary(Opcode::mul, in[0], {{}, scale, nullptr});
    return std::vector{code.binary(Opcode::mul, scaled, scaled)};
  };
  TRY(lower_elementwise(lowering, node, square));

  auto band = std::make_shared<std::vector<float>>(static_cast<size_t>(c * c), 0.0F);
  const int64_t before = (op.size - 1) / 2, after = op.size - 1 - before;
  for (int64_t y = 0; y < c; ++y)
    for (int64_t k = std::max<int64_t>(0, y - before); k <= std::min(c - 1, y + after); ++k)
      (*band)[static_cast<size_t>(k * c + y)] = 1;
  Product p;
  p.layer = layer + ".sums";
  p.rows = n / c, p.k = p.columns = c;
  p.a_row = p.b_row = p.y_row = c;
  p.a = squares, p.y = sums;
  p.b = lowering.constant(layer + ".window", real, c * c, [band, c, real]() -> Result<Tensor> {
    return converted(Tensor::vector(*band).reshaped({c, c}), real);
  });
  TRY(add_product(lowering, node, p));

  Elementwise divide;
  divide.dims = {n};
  divide.strides = {1};
  divide.operands = {{"x", x, {1}}, {"sums", sums, {1}}};
  divide.results = {lowering.tensor_of(node.output())};
  divide.wide = true;
  divide.compute = [op](VectorCode& code,
                        std::span<const Register> in) -> Result<std::vector<Register>> {
    const auto number = [](double v) { return Register{{}, v, nullptr}; };
    const Register wide = code.tile(in[1], DType::f32);
    const Register signed_sum = code.binary(Opcode::mul, wide, number(op.alpha < 0 ? -1 : 1));
    const Register base = code.binary(Opcode::add, signed_sum, number(op.bias));
    const Register power = code.unary(
        Opcode::exp, code.binary(Opcode::mul, code.unary(Opcode::ln, base), number(-op.beta)));
    const Register y = code.binary(Opcode::mul, code.tile(in[0], DType::f32), power);
    return std::vector{code.tile(y, in[0].view.dtype)};
  };
  return lower_elementwise(lowering, node, divide);
}

}  // namespace tenon::lower
