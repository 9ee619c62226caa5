// Matrix products and convolutions as lowerings see them: many problems of one shape, each
// y [rows, columns] = activation(sum over k of a [rows, k] b [k, columns] + bias + residual).
#pragma once

#include <array>
#include <string>

#include "lower/lowering.h"
#include "lower/vector_code.h"
#include "ops/activation.h"
#include "ops/conv.h"

namespace tenon::lower {

// Windows over images [depth, height, width, channels]; rows are output pixels of one plane.
struct Windows {
  int64_t depth = 1, height = 1, width = 1, channels = 1;
  int64_t out_depth = 1, out_height = 1, out_width = 1;
  std::array<int64_t, 3> kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1}, pad{0, 0, 0};
  int64_t pitch = 0;  // pixels from row to row of the image in memory; 0: its width

  int64_t row_pixels() const { return pitch != 0 ? pitch : width; }
};

// One dimension that the problems are counted by, with strides in elements.
struct BatchDim {
  int64_t size = 1;
  int64_t a = 0, b = 0, y = 0, residual = 0, bias = 0;
};

struct Product {
  std::string layer;
  std::string algorithm;  // what its kernels call it; empty: as they are
  int64_t rows = 1, columns = 1, k = 1;
  std::vector<BatchDim> batch;  // outermost first
  BatchDim first;               // where the first problem's elements begin
  // Strides of rows, in elements.
  int64_t a_row = 0, b_row = 0, y_row = 0, residual_row = 0;
  std::optional<Windows> windows;  // a is read through these; its row stride is that of pixels
  int64_t a_first = 0;             // where the first image begins in a, and
  int64_t a_line =
      0;  // how far its rows are apart where they do not follow each other, in elements
  bool b_transposed = false;  // b is stored [columns, k]
  const Tensor* b_constant = nullptr;
  int64_t groups = 1;  // of a constant filter: the innermost batch dimension counts them
  int64_t diagonal =
      0;  // channels of a group of a depthwise filter (put_on_diagonal); 0: it is none
  int a = -1, b = -1, y = -1, bias = -1, residual = -1;  // tensors; -1: none
  double scale = 1;
  ActivationKind activation = ActivationKind::none;
  double alpha = 0, beta = 0;
  // Products of bytes, whose sums are exact: sum * column_scale + bias in f32 (both as `bias`
  // goes), after the activation times result_scale, and with `zero` rounded to even, plus zero,
  // saturated. Without column_scale all is in i32.
  DType operands = DType::none;  // of a and b; none: reals
  int column_scale = -1;
  double result_scale = 1;
  double outside = 0;  // what windows read beyond their image
  // What a function that no scale goes through (result_scale) is computed in, and its result.
  DType function = DType::f32, result = DType::i8;
  std::optional<int64_t> zero;

  bool is_exact() const { return operands == DType::i8 || operands == DType::u8; }
  DType operand_dtype(DType real) const { return operands == DType::none ? real : operands; }
  DType sum_dtype() const { return is_exact() ? DType::i32 : DType::f32; }
  // What the vector unit finishes tiles in.
  DType work_dtype(DType real) const {
    if (!is_exact()) return computed_dtype(operand_dtype(real));
    return column_scale >= 0 ? DType::f32 : DType::i32;
  }
  // What biases, scales and residuals are in memory.
  DType added_dtype(DType real) const {
    return is_exact() ? work_dtype(real) : operand_dtype(real);
  }
  bool is_plain() const {
    return bias < 0 && residual < 0 && scale == 1 && activation == ActivationKind::none &&
           column_scale < 0 && !zero;
  }

  int64_t problems() const {
    int64_t n = 1;
    for (const BatchDim& d : batch) n *= d.size;
    return n;
  }
  int64_t macs() const { return problems() * rows * columns * k; }
};

// Sum over the batch dimensions of index times stride, where `problem` counts them row-major.
Expr batch_offset(const Product& p, const Expr& problem, int64_t BatchDim::*stride);

// Applies scale, bias, residual and activation to a tile in the vector unit's memory; `bias` and
// `residual` are tiles broadcast to it.
class VectorCode;
struct Register;
Result<Register> finish_product(VectorCode& code, const Product& p, const Register& sum,
                                const Register* bias, const Register* residual,
                                const Register* column_scale = nullptr);
// The same, the result where the sum was. Errors are left out: every activation that products have
// was tried when the tiles were measured.
void finish_in_place(VectorCode& code, const Product& p, const Register& sum, const Register* bias,
                     const Register* residual);
// What finishing a tile takes: temporary tiles, with the sum's own, and instructions.
struct FinishCost {
  int64_t temporaries = 0, instructions = 0;
};
FinishCost measure_finish(const Lowering& lowering, int memory, DType work, DType added,
                          const Product& p);

Status lower_product_ascend(Lowering& lowering, const Node& node, const Product& p);
Status lower_product_cambricon(Lowering& lowering, const Node& node, const Product& p);
// Rows, columns, windows and batch of a convolution; tensors and what comes after are left open.
struct ConvShapes {
  std::vector<int64_t> x, w, y;
};
Result<Product> conv_product(const Conv& op, const ConvShapes& shapes);
// The same of a node, with its tensors and what comes after.
Result<Product> product_of(Lowering& lowering, const Node& node, const Conv& op,
                           const ConvShapes& shapes);
// What the time of a product depends on.
std::string problem_of(const Product& p);
// The fastest of vector unit and cube (depthwise.cpp).
Status lower_depthwise(Lowering& lowering, const Node& node);
// Ascend, few channels: rows of windows as channels (packed_rows.cpp).
Status lower_packed_rows(Lowering& lowering, const Node& node, const Product& p);
// The one of the chip's family, without choice.
Status lower_plain(Lowering& lowering, const Node& node, const Product& p);
// The fastest way.
Status add_product(Lowering& lowering, const Node& node, const Product& p);
// A convolution that has no tile which fits: by rows, and pieces of rows.
Status add_wide_conv(Lowering& lowering, const Node& node, const Product& p);

}  // namespace tenon::lower
