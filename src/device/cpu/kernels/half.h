// Conversion of arrays between float and the 16-bit floats; one thread.
#pragma once

#include <cstdint>

#include "base/half.h"

namespace tenon::cpu {

void convert(const Half* x, float* y, int64_t n);
void convert(const float* x, Half* y, int64_t n);
void convert(const BFloat16* x, float* y, int64_t n);
void convert(const float* x, BFloat16* y, int64_t n);

}  // namespace tenon::cpu
