// What selections along an axis share.
#pragma once

#include <string>
#include <vector>

#include "lower/lowering.h"
#include "lower/vector_code.h"

namespace tenon::lower {

constexpr double kNoElement = 16777216;  // beyond every number of an element

// 0, 1, 2, …
int count_up(Lowering& lowering, std::string name, DType dtype, int64_t n);

// A tensor as [outer, size, inner] around an axis.
struct Around {
  int64_t outer = 1, size = 1, inner = 1;
};
Around around(const std::vector<int64_t>& dims, int64_t axis);

// The operand with the axis last.
Result<int> axis_last(Lowering& lowering, const Node& node, const Around& around);
// Back from there: a tensor [outer, inner, size] to the result.
Status axis_back(Lowering& lowering, const Node& node, const Around& around, int from, int to);

// One value per row of x, as an operand for whole rows.
struct RowValue {
  Register kept, spread;
};
RowValue reduced(VectorCode& code, Opcode op, const Register& x, const Expr& rows, int64_t width,
                 DType dtype);

// The numbers of what is not behind the best, `none` elsewhere. A NaN, which is the best of its row
// where there is one, has nothing behind it: all numbers of the row stay, and one of them is taken.
Register numbers_of_best(VectorCode& code, bool largest, const Register& x, const Register& best,
                         const Register& numbers, const Register& none);

}  // namespace tenon::lower
