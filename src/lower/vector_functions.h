// Functions of one and two operands that no vector unit has, put together of what all have. Reals
// are computed in f32 whatever they are kept in; what is left out is no function of this file.
#pragma once

#include <optional>
#include <string_view>

#include "lower/vector_code.h"

namespace tenon::lower {

// The function of the op of this name; nothing where there is none here.
std::optional<Register> real_function(VectorCode& code, std::string_view op, const Register& x);
std::optional<Register> real_function(VectorCode& code, std::string_view op, const Register& a,
                                      const Register& b);

// sin(x + turn * pi).
Register sine(VectorCode& code, const Register& x, double turn);

// a / b of whole numbers, towards 0, and what is left over, in i32; by 0 it is anything.
struct Division {
  Register quotient, rest;
};
Division divide(VectorCode& code, const Register& a, const Register& b);
// div, floor_div, floor_mod and trunc_mod of whole numbers; nothing for other ops.
std::optional<Register> whole_function(VectorCode& code, std::string_view op, const Register& a,
                                       const Register& b);

}  // namespace tenon::lower
