// Weights of 16 bits: how numbers are rounded to them.
#pragma once

#include "base/result.h"
#include "tensor/tensor.h"

namespace tenon::quant {

// Numbers of f32 as f16 or bf16, each rounded to the nearest.
Result<Tensor> rounded(const Tensor& t, DType dtype);

// Weights as bf16, up or down so that along an output channel little is lost in all: where inputs
// are of one sign, as behind a relu, that is a shift of every result. Output channels are the last
// dimension or, `transposed`, the first.
Result<Tensor> rounded_evenly(const Tensor& w, bool transposed);

// Of the two types of 16 bits the one that rounds these numbers less: bf16 has three bits fewer,
// and what is too large or too small for f16.
DType nearer_16_bits(const Tensor& t);

}  // namespace tenon::quant
