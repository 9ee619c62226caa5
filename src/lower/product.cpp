// Which products conv, matmul and attention are.
#include "lower/product.h"

#include <fmt/format.h>

#include "lower/choose.h"
#include "lower/elementwise.h"
#include "lower/movement.h"
#include "lower/vector_core.h"
#include "lower/winograd.h"
#include "ops/conv.h"
#include "ops/matmul.h"
#include "ops/matmul_nbits.h"

namespace tenon::lower {
namespace {

int optional_tensor(Lowering& lowering, const Node& node, int i) {
  return node.input(i) == nullptr ? -1 : lowering.tensor_of(node.input(i));
}

// Attributes given per spatial dimension, as those of three dimensions.
std::array<int64_t, 3> spatial3(std::span<const int64_t> values, size_t n, int64_t fallback) {
  std::array<int64_t, 3> out{fallback, fallback, fallback};
  for (size_t i = 0; i < n && i < values.size(); ++i) out[3 - n + i] = values[i];
  return out;
}

}  // namespace

Result<Product> conv_product(const Conv& op, const ConvShapes& shapes) {
  const auto& [x, w, y] = shapes;
  const size_t n = w.size() - 2;
  if (n > 3) return unsupported("convolutions over more than three dimensions");
  Product p;
  const auto pads = effective_pads(op, std::span(w).first(n), std::span(x).subspan(1));
  Windows win;
  const auto in = spatial3(std::span(x).subspan(1), n, 1);
  const auto out = spatial3(std::span(y).subspan(1), n, 1);
  win.depth = in[0], win.height = in[1], win.width = in[2];
  win.out_depth = out[0], win.out_height = out[1], win.out_width = out[2];
  win.kernel = spatial3(w, n, 1);
  win.stride = spatial3(op.strides, n, 1);
  win.dilation = spatial3(op.dilations, n, 1);
  win.pad = spatial3(pads, n, 0);
  // A plane of the result that no plane of the image reaches has no product.
  for (int64_t d = 0; d < win.out_depth; ++d) {
    bool reached = false;
    for (int64_t k = 0; k < win.kernel[0]; ++k) {
      const int64_t at = d * win.stride[0] + k * win.dilation[0] - win.pad[0];
      reached |= at >= 0 && at < win.depth;
    }
    if (!reached) return unsupported("a plane of its result is made of pads alone");
  }
  win.channels = w[n];
  p.groups = op.groups;
  p.columns = w[n + 1] / op.groups;
  p.k = win.kernel[0] * win.kernel[1] * win.kernel[2] * win.channels;
  p.a_row = x.back(), p.y_row = p.residual_row = y.back();
  const int64_t plane = win.out_height * win.out_width;
  const bool pointwise = win.kernel == std::array<int64_t, 3>{1, 1, 1} &&
                         win.stride == std::array<int64_t, 3>{1, 1, 1} &&
                         win.pad == std::array<int64_t, 3>{0, 0, 0} && in == out;
  if (pointwise) {
    // Every pixel of every image is a row.
    p.rows = x[0] * win.depth * plane;
  } else {
    p.rows = plane;
    const int64_t image = win.depth * win.height * win.width * x.back();
    p.batch.push_back(
        {x[0], image, 0, win.out_depth * plane * y.back(), win.out_depth * plane * y.back()});
    if (win.out_depth > 1)
      p.batch.push_back({win.out_depth, 0, 0, plane * y.back(), plane * y.back()});
    p.windows = win;
  }
  if (p.groups > 1) p.batch.push_back({p.groups, win.channels, 1, p.columns, p.columns, p.columns});
  return p;
}

Result<Product> product_of(Lowering& lowering, const Node& node, const Conv& op,
                           const ConvShapes& shapes) {
  if (node.input(1)->constant() == nullptr) return unsupported("the filter is no constant");
  Product p = TRY(conv_product(op, shapes));
  p.layer = layer_of(node);
  p.b_constant = node.input(1)->constant();
  p.activation = op.activation, p.alpha = op.alpha, p.beta = op.beta;
  p.a = lowering.tensor_of(node.input(0));
  p.y = lowering.tensor_of(node.output());
  p.bias = optional_tensor(lowering, node, 2);
  p.residual = optional_tensor(lowering, node, 3);
  return p;
}

namespace {

// The strides of a batch of matrices under the batch dimensions of the result.
std::vector<int64_t> batch_strides(const std::vector<int64_t>& dims,
                                   const std::vector<int64_t>& result) {
  std::vector<int64_t> strides(result.size() - 2, 0);
  int64_t stride = dims[dims.size() - 1] * dims[dims.size() - 2];
  for (size_t i = dims.size() - 2; i-- > 0;) {
    const size_t at = result.size() - dims.size() + i;
    if (dims[i] != 1) strides[at] = stride;
    stride *= dims[i];
  }
  return strides;
}

// A tensor of matrices with their rows as columns.
Result<int> transposed(Lowering& lowering, const Node& node, int from,
                       const std::vector<int64_t>& dims, std::string layer) {
  const int64_t rows = dims[dims.size() - 2], columns = dims.back(), n = rows * columns;
  const int to = lowering.scratch(layer, lowering.real(), count_of(dims));
  TRY(move_pieces(
      lowering, node, std::move(layer),
      {{from, to, {count_of(dims) / n, columns, rows}, {n, 1, columns}, {n, rows, 1}}}));
  return to;
}

Result<Product> product_of(Lowering& lowering, const Node& node, const Matmul& op) {
  auto a = dims_of(node.input(0));
  const auto b = dims_of(node.input(1)), y = dims_of(node.output());
  if (!is_float(node.output()->dtype())) return unsupported("products of whole numbers");
  if (a.size() < 2 || b.size() < 2) return unsupported("products of vectors");
  Product p;
  p.layer = layer_of(node);
  p.a = lowering.tensor_of(node.input(0));
  if (op.transpose_a) {
    p.a = TRY(transposed(lowering, node, p.a, a, p.layer + ".transposed"));
    std::swap(a[a.size() - 1], a[a.size() - 2]);
  }
  p.rows = y[y.size() - 2], p.columns = y.back(), p.k = a.back();
  p.a_row = p.k, p.b_row = b.back(), p.y_row = p.residual_row = p.columns;
  p.b_transposed = op.transpose_b;
  p.b_constant = b.size() == 2 ? node.input(1)->constant() : nullptr;
  const auto sa = batch_strides(a, y), sb = batch_strides(b, y), sy = batch_strides(y, y);
  for (size_t i = 0; i + 2 < y.size(); ++i)
    if (y[i] != 1) p.batch.push_back({y[i], sa[i], sb[i], sy[i], sy[i]});
  // One matrix b for all: the batch is more rows.
  if (count_of(b) == p.k * p.columns && count_of(a) / p.k == count_of(y) / p.columns) {
    p.rows = count_of(a) / p.k;
    p.batch.clear();
  }
  p.scale = op.alpha;
  p.activation = op.activation, p.alpha = op.act_alpha, p.beta = op.act_beta;
  if (p.b_constant == nullptr) p.b = lowering.tensor_of(node.input(1));
  p.y = lowering.tensor_of(node.output());
  p.residual = optional_tensor(lowering, node, 3);
  if (const Value* bias = node.input(2)) {
    if (count_of(dims_of(bias)) != p.columns)
      return unsupported("a bias that is no vector of the columns");
    p.bias = lowering.tensor_of(bias);
  }
  return p;
}

// Weights of few bits as reals [k, n]: the product unit has none narrower than bytes.
Tensor widened(const Tensor& b, const Tensor& scale, int64_t bits) {
  const int64_t n = b.dim(1), k = b.dim(0) * (8 / bits), group = k / scale.dim(0);
  std::vector<float> w;
  w.reserve(static_cast<size_t>(k * n));
  for (int64_t i = 0; i < k * n; ++i) {
    const int64_t row = i / n, column = i % n;
    const int64_t level =
        bits == 8 ? int64_t{b.data<int8_t>()[i]}
                  : int64_t{(b.data<uint8_t>()[row / 2 * n + column] >> (row % 2 * 4)) & 15} - 8;
    w.push_back(static_cast<float>(level) * scale.data<float>()[row / group * n + column]);
  }
  return Tensor::vector(w).reshaped({k, n});
}

Result<Product> product_of(Lowering& lowering, const Node& node, const MatmulNbits& op) {
  const Tensor *b = node.input(1)->constant(), *scale = node.input(2)->constant();
  if (b == nullptr || scale == nullptr) return unsupported("its weights are no constants");
  const Value* residual = node.input(4);
  const auto y = dims_of(node.output());
  if (residual != nullptr && dims_of(residual) != y)
    return unsupported("what is added is no full result");
  Product p;
  p.layer = layer_of(node);
  p.b_constant = lowering.keep(std::make_shared<const Tensor>(widened(*b, *scale, op.bits)));
  p.k = p.b_constant->dim(0), p.columns = y.back(), p.rows = count_of(y) / p.columns;
  p.a_row = p.k, p.b_row = p.y_row = p.residual_row = p.columns;
  p.activation = op.activation, p.alpha = op.act_alpha, p.beta = op.act_beta;
  p.a = lowering.tensor_of(node.input(0));
  p.y = lowering.tensor_of(node.output());
  p.bias = optional_tensor(lowering, node, 3);
  p.residual = optional_tensor(lowering, node, 4);
  return p;
}

}  // namespace

Expr batch_offset(const Product& p, const Expr& problem, int64_t BatchDim::*stride) {
  Expr offset = p.first.*stride, rest = problem;
  for (size_t i = p.batch.size(); i-- > 0;) {
    const BatchDim& d = p.batch[i];
    const Expr index = i == 0 ? rest : rest % d.size;
    offset = offset + index * d.*stride;
    rest = rest / d.size;
  }
  return offset;
}

namespace {

// An activation of x in bytes: halves hold more than is left of it.
Result<Register> function_in_bytes(VectorCode& code, const Product& p, const Register& x) {
  const auto number = [](double v) { return Register{{}, v, nullptr}; };
  constexpr double kLowest = -60000;  // of halves: below, an infinity times 0 would be no number
  Register y = code.tile(x, p.function);
  if (p.function == DType::f16) y = code.binary(Opcode::max, y, number(kLowest));
  code.set_rough(true);
  y = TRY(code.activate(p.activation, p.alpha, p.beta, y));
  code.set_rough(false);
  y = code.binary(Opcode::mul, y, number(p.result_scale));
  if (p.zero.value_or(0) != 0)
    y = code.binary(Opcode::add, y, number(static_cast<double>(*p.zero)));
  return code.round(y, p.result);
}

}  // namespace

Result<Register> finish_product(VectorCode& code, const Product& p, const Register& sum,
                                const Register* bias, const Register* residual,
                                const Register* column_scale) {
  Register y = sum;
  if (column_scale != nullptr) y = code.binary(Opcode::mul, y, *column_scale);
  if (p.scale != 1) y = code.binary(Opcode::mul, y, {{}, p.scale, nullptr});
  if (bias != nullptr) y = code.binary(Opcode::add, y, *bias);
  if (residual != nullptr) y = code.binary(Opcode::add, y, *residual);
  if (p.result_scale != 1) return function_in_bytes(code, p, y);
  y = TRY(code.activate(p.activation, p.alpha, p.beta, y));
  if (!p.zero) return y;
  y = code.round(y);
  return *p.zero == 0 ? y
                      : code.binary(Opcode::add, y, {{}, static_cast<double>(*p.zero), nullptr});
}

void finish_in_place(VectorCode& code, const Product& p, const Register& sum, const Register* bias,
                     const Register* residual) {
  const auto done = finish_product(code, p, sum, bias, residual);
  if (done.ok() && done->view != sum.view) code.store(*done, sum.view);
}

FinishCost measure_finish(const Lowering& lowering, int memory, DType work, DType added,
                          const Product& p) {
  ProgramBuilder scratch(lowering.architecture(), "", "");
  VectorCode code(scratch, memory, 128, work);
  const Register sum = code.temporary(work);
  Register other = sum;
  other.view.dtype = added;
  (void)finish_product(code, p, sum, p.bias >= 0 ? &other : nullptr,
                       p.residual >= 0 ? &other : nullptr, p.column_scale >= 0 ? &other : nullptr);
  FinishCost cost{code.slots(), 0};
  if (const auto program = scratch.take(); program.ok())
    cost.instructions = static_cast<int64_t>(program->body.size());
  return cost;
}

namespace {

// Where cube and vector unit are cores of their own: the sums go through the memory, and a second
// kernel makes the result of them.
Status add_in_two_kernels(Lowering& lowering, const Node& node, const Product& p) {
  Product sums = p;
  sums.bias = sums.residual = sums.column_scale = -1;
  sums.zero.reset();
  sums.scale = sums.result_scale = 1;
  sums.activation = ActivationKind::none;
  sums.y = lowering.scratch(p.layer + ".sums", p.is_exact() ? DType::i32 : lowering.real(),
                            lowering.tensor(p.y).elements);
  // Under the batch, rows and columns.
  const auto strides = [&](int64_t BatchDim::*batch, int64_t row) {
    std::vector<int64_t> out;
    for (const BatchDim& d : p.batch) out.push_back(d.*batch);
    out.push_back(row);
    out.push_back(1);
    return out;
  };
  Elementwise work;
  for (const BatchDim& d : p.batch) work.dims.push_back(d.size);
  work.dims.push_back(p.rows);
  work.dims.push_back(p.columns);
  work.strides = strides(&BatchDim::y, p.y_row);
  work.offset = p.first.y;
  work.operands.push_back({"sums", sums.y, work.strides, p.first.y});
  if (p.bias >= 0)
    work.operands.push_back({"bias", p.bias, strides(&BatchDim::bias, 0), p.first.bias});
  if (p.residual >= 0)
    work.operands.push_back(
        {"residual", p.residual, strides(&BatchDim::residual, p.residual_row), p.first.residual});
  if (p.column_scale >= 0)
    work.operands.push_back({"scale", p.column_scale, strides(&BatchDim::bias, 0), p.first.bias});
  work.results = {p.y};
  work.wide = p.is_exact() && p.result_scale == 1;
  work.compute = [&p](VectorCode& code,
                      std::span<const Register> in) -> Result<std::vector<Register>> {
    const Register* bias = p.bias >= 0 ? &in[1] : nullptr;
    const Register* residual = p.residual >= 0 ? &in[p.bias >= 0 ? 2 : 1] : nullptr;
    const Register* scale = p.column_scale >= 0 ? &in.back() : nullptr;
    const Register sum = p.is_exact() ? code.tile(in[0], p.work_dtype(DType::f32)) : in[0];
    return std::vector{TRY(finish_product(code, p, sum, bias, residual, scale))};
  };
  TRY(lower_product_ascend(lowering, node, sums));
  return lower_elementwise(lowering, node, work);
}

// Without the pixels at the end of rows that no window reads: img2col makes rows of as many windows
// as an image has room for.
Result<Product> of_read_pixels(const Product& p) {
  Product out = p;
  Windows& w = *out.windows;
  const int64_t reach = (w.kernel[2] - 1) * w.dilation[2] + 1;
  if ((w.width + w.pad[2] - reach) / w.stride[2] < w.out_width) return out;
  w.pitch = w.row_pixels();
  w.width = (w.out_width - 1) * w.stride[2] + reach - w.pad[2];
  if (w.width < 1) return unsupported("its windows are of pads alone");
  return out;
}

}  // namespace

Status lower_plain(Lowering& lowering, const Node& node, const Product& product) {
  const auto* ascend = std::get_if<AscendChip>(&lowering.machine().chip);
  if (ascend == nullptr) return lower_product_cambricon(lowering, node, product);
  const Product p = product.windows ? TRY(of_read_pixels(product)) : product;
  if (ascend->coupling == VectorCoupling::split && !p.is_plain())
    return add_in_two_kernels(lowering, node, p);
  return lower_product_ascend(lowering, node, p);
}

std::string problem_of(const Product& p) {
  std::string text =
      fmt::format("{} {} {} rows {} {} {} {} {} {} {} {} {}", p.rows, p.columns, p.k, p.a_row,
                  p.b_row, p.y_row, p.residual_row, p.groups, static_cast<int>(p.activation),
                  p.bias >= 0, p.residual >= 0, p.scale);
  for (const BatchDim& d : p.batch)
    text += fmt::format(" batch {} {} {} {} {} {}", d.size, d.a, d.b, d.y, d.residual, d.bias);
  text += fmt::format(" {} {} {} {}", dtype_name(p.operands), p.column_scale >= 0, !!p.zero,
                      p.outside != 0);
  text += fmt::format(" from {} {} {} {}", p.first.a, p.first.b, p.first.y, p.first.residual);
  if (const auto& w = p.windows) {
    text += fmt::format(" of {} {} {} {} {} to {} {} {}", w->depth, w->height, w->width, w->pitch,
                        w->channels, w->out_depth, w->out_height, w->out_width);
    for (size_t i = 0; i < 3; ++i)
      text += fmt::format(" by {} {} {} {}", w->kernel[i], w->stride[i], w->dilation[i], w->pad[i]);
  }
  return text;
}

namespace {

// A convolution whose result is padded to whole tiles of Winograd's algorithm.
struct Padded {
  std::string sizes;
  int64_t m;
  Product product;
};

std::vector<Padded> padded_products(const Product& p) {
  std::vector<Padded> out;
  const Windows& w = *p.windows;
  if (p.batch.size() != 1) return out;
  for (const int64_t m : {2, 4}) {
    const int64_t height = (w.out_height + m - 1) / m * m, width = (w.out_width + m - 1) / m * m;
    if (height == w.out_height && width == w.out_width) continue;
    Padded& v = out.emplace_back(Padded{
        fmt::format("padded from {}x{} to {}x{}, it", w.out_height, w.out_width, height, width), m,
        p});
    Windows& to = *v.product.windows;
    to.height += height - w.out_height, to.width += width - w.out_width;
    to.out_height = height, to.out_width = width;
    v.product.rows = height * width;
    BatchDim& images = v.product.batch[0];
    images.a = to.depth * to.height * to.width * p.a_row;
    images.y = images.residual = to.out_depth * v.product.rows * p.y_row;
  }
  return out;
}

}  // namespace

Status add_product(Lowering& lowering, const Node& node, const Product& p) {
  if (!p.windows) return lower_plain(lowering, node, p);
  const bool ascend = std::holds_alternative<AscendChip>(lowering.machine().chip);
  std::vector<Candidate> candidates;
  candidates.push_back(
      {ascend ? "img2col" : "conv", [&] { return lower_plain(lowering, node, p); }});
  if (ascend)
    candidates.push_back({"packed_rows", [&] { return lower_packed_rows(lowering, node, p); }});
  const auto candidate_of = [&](const Product& product, int64_t m) -> Candidate {
    return {fmt::format("winograd_f{}", m), [&lowering, &node, &product, ascend, m] {
              return ascend ? lower_winograd_ascend(lowering, node, product, m)
                            : lower_winograd_cambricon(lowering, node, product, m);
            }};
  };
  for (const int64_t m : {2, 4}) candidates.push_back(candidate_of(p, m));
  const auto padded = lowering.options().advise ? padded_products(p) : std::vector<Padded>();
  std::vector<Variant> variants;
  variants.reserve(padded.size());
  for (const Padded& v : padded) variants.push_back({v.sizes, candidate_of(v.product, v.m)});
  return lower_fastest(lowering, problem_of(p), candidates, variants);
}

Status lower_product(Lowering& lowering, const Node& node) {
  if (const auto* conv = node.as<Conv>()) {
    const auto w = dims_of(node.input(1));
    if (conv->groups > 1 && w[w.size() - 2] == 1 && w.back() == conv->groups)
      return lower_depthwise(lowering, node);
    const Product p =
        TRY(product_of(lowering, node, *conv, {dims_of(node.input(0)), w, dims_of(node.output())}));
    Status status = add_product(lowering, node, p);
    if (status.ok() || !p.windows || status.error().code != Code::unsupported) return status;
    return add_wide_conv(lowering, node, p);
  }
  if (const auto* few = node.as<MatmulNbits>())
    return add_product(lowering, node, TRY(product_of(lowering, node, *few)));
  return add_product(lowering, node, TRY(product_of(lowering, node, *node.as<Matmul>())));
}

}  // namespace tenon::lower
