#include "isa/opcode.h"

#include <array>

namespace tenon::isa {
namespace {

using enum Opcode;
using Kind = OpcodeClass;

constexpr std::string_view kImg2col[] = {"kernel_h",   "kernel_w",   "stride_h", "stride_w",
                                         "dilation_h", "dilation_w", "pad_top",  "pad_left",
                                         "out_w",      "first_m",    "first_k"};
constexpr std::string_view kMmad[] = {"m", "k", "n", "accumulate"};
constexpr std::string_view kConv[] = {"kernel_h", "kernel_w",   "stride_h",
                                      "stride_w", "dilation_h", "dilation_w",
                                      "pad_top",  "pad_left",   "accumulate"};
constexpr std::string_view kScatter[] = {"first", "accumulate"};
constexpr std::string_view kConvert[] = {"rounding"};
constexpr std::string_view kCompare[] = {"relation"};
constexpr std::string_view kFlag[] = {"from", "to", "id"};
constexpr std::string_view kSync[] = {"queue"};

constexpr std::array<OpcodeInfo, kOpcodes> kTable = {{
    {copy,
     "copy",
     Kind::move,
     2,
     {},
     false,
     "dst = src, element by element; converts where both differ in type"},
    {fill, "fill", Kind::move, 1, {}, true, "dst = scalar"},
    {gather,
     "gather",
     Kind::move,
     3,
     {},
     false,
     "dst[i, …] = table[indices[i], …]; an index out of range gives zeros"},
    {scatter, "scatter", Kind::move, 3, kScatter, false,
     "dst[indices[i] - first, …] (+)= src[i, …], one after the other; an index out of range writes "
     "nothing"},
    {img2col, "img2col", Kind::move, 2, kImg2col, true,
     "dst [m1, k1, m0, c0] = the windows of src [c1, h, w, c0]: row first_m + m is output pixel "
     "(row / out_w, row % out_w), column first_k + k is (c1, kernel row, kernel column, c0); "
     "outside of src is scalar"},
    {mmad, "mmad", Kind::product, 3, kMmad, false,
     "acc [n1, m1, m0, n0] (+)= a [m1, k1, m0, k0] b [k1, n1, n0, k0], of which m, k and n "
     "count; the rest of the last n0 columns is computed, too"},
    {conv, "conv", Kind::product, 3, kConv, false,
     "dst [h', w', co] (+)= the convolution of x [h, w, ci] with filter [co, kernel_h, kernel_w, "
     "ci]"},
    {convert, "convert", Kind::unary, 2, kConvert, false, "dst = src in the type of dst"},
    {exp, "exp", Kind::unary, 2, {}, false, "e to the power of src"},
    {ln, "ln", Kind::unary, 2, {}, false, "natural logarithm"},
    {sqrt, "sqrt", Kind::unary, 2, {}, false, "square root"},
    {rsqrt, "rsqrt", Kind::unary, 2, {}, false, "1 / square root"},
    {reciprocal, "reciprocal", Kind::unary, 2, {}, false, "1 / src"},
    {abs, "abs", Kind::unary, 2, {}, false, "magnitude"},
    {relu, "relu", Kind::unary, 2, {}, false, "max(src, 0)"},
    {sigmoid, "sigmoid", Kind::unary, 2, {}, false, "1 / (1 + exp(-src))"},
    {tanh, "tanh", Kind::unary, 2, {}, false, "hyperbolic tangent"},
    {add, "add", Kind::binary, 3, {}, false, "a + b"},
    {sub, "sub", Kind::binary, 3, {}, false, "a - b"},
    {mul, "mul", Kind::binary, 3, {}, false, "a b"},
    {div, "div", Kind::binary, 3, {}, false, "a / b"},
    {max, "max", Kind::binary, 3, {}, false, "the larger"},
    {min, "min", Kind::binary, 3, {}, false, "the smaller"},
    {adds, "adds", Kind::scalar, 2, {}, true, "a + scalar"},
    {muls, "muls", Kind::scalar, 2, {}, true, "a scalar"},
    {maxs, "maxs", Kind::scalar, 2, {}, true, "the larger of a and scalar"},
    {mins, "mins", Kind::scalar, 2, {}, true, "the smaller of a and scalar"},
    {compare, "compare", Kind::compare, 3, kCompare, false, "1 where the relation holds, else 0"},
    {select, "select", Kind::select, 4, {}, false, "dst = condition ? a : b"},
    {reduce_sum,
     "reduce_sum",
     Kind::reduce,
     2,
     {},
     false,
     "sum over the innermost axis, which dst has with size 1"},
    {reduce_max, "reduce_max", Kind::reduce, 2, {}, false, "maximum over the innermost axis"},
    {reduce_min, "reduce_min", Kind::reduce, 2, {}, false, "minimum over the innermost axis"},
    {set_flag, "set_flag", Kind::order, 0, kFlag, false,
     "queue `from` raises the flag when it has done what it was given before"},
    {wait_flag, "wait_flag", Kind::order, 0, kFlag, false,
     "queue `to` waits for the flag and lowers it before it goes on"},
    {sync, "sync", Kind::order, 0, kSync, false,
     "nothing more is issued until the queue (-1: every queue) has done what it was given"},
    {barrier, "barrier", Kind::order, 0, {}, false, "every block waits for all blocks"},
}};

}  // namespace

const OpcodeInfo& info(Opcode op) {
  return kTable[static_cast<size_t>(op)];
}

std::optional<Opcode> parse_opcode(std::string_view name) {
  for (const OpcodeInfo& i : kTable)
    if (i.name == name) return i.op;
  return std::nullopt;
}

}  // namespace tenon::isa
