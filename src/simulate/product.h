// Products of the matrix units, in f32 over packed panels. Products of integers are exact: they are
// summed as floats over so few terms that every sum is an integer below 2^24.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "simulate/operand.h"

namespace tenon::simulate {

// acc [n1, m1, m0, n0] = (accumulate ? acc : 0) + a [m1, k1, m0, k0] b [k1, n1, n0, k0], of which m
// rows, k terms and n columns; n0 is 16.
void run_mmad(const Operand& acc, const Operand& a, const Operand& b, int64_t m, int64_t k,
              int64_t n, bool accumulate);

// dst [h, w, co] = (accumulate ? dst : 0) + windows of x [h, w, ci] with filter [co, kh, kw, ci];
// numbers as isa::Opcode::conv names them.
void run_conv(const Operand& dst, const Operand& x, const Operand& filter,
              std::span<const int64_t> numbers);

}  // namespace tenon::simulate
