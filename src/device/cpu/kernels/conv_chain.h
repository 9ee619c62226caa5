// A depthwise convolution with the 1x1 ones before and behind it, by strips of rows: what lies
// between them stays in the caches, and threads meet once. See gemm.h for the rules on pointers.
#pragma once

#include "device/cpu/kernels/conv.h"

namespace tenon::cpu {

// What a convolution gives goes to the next one alone, so the pointers x, y between them are not
// looked at. Without `expands` or `projects` that one is not there; one of them is, or it rounds.
struct ConvChain {
  bool expands = false;
  bool projects = false;
  bool expands_pairs =
      false;  // `expand` multiplies pairs of bf16 (pairs.h), as many as in_channels
  // What the depthwise one, of f32, gives without residual is rounded to bf16: `project` multiplies
  // pairs of it, or it is the result, depthwise.y then being bf16 side by side. A depthwise one of
  // bf16 (narrow_x) rounds by itself: where it expands expand.narrow_y, where it projects narrow_y.
  bool rounds = false;
  const KernelTable* pairs = nullptr;  // for the products of pairs, where there are any
  ConvParams expand;                   // as the gemm method runs it, without residual
  ConvParams depthwise;  // as the depthwise method does, without residual where it projects
  ConvParams project;    // as the gemm method does
};

// Whether what a 1x1 convolution of pairs gives can be rounded to bf16 at once
// (ConvParams::narrow_y).
bool conv_chain_rounds(const ConvParams& pointwise, const KernelTable& pairs);
// Why a depthwise convolution is no part of a chain, or null. Looks at sizes only.
const char* conv_chain_refusal(const ConvParams& depthwise);
// Whether the chain is thought to be faster than its parts.
bool conv_chain_pays(const ConvChain& chain, int threads);
// `table` is for all that is no product of pairs.
int64_t conv_chain_scratch_bytes(const ConvChain& chain, int threads, const KernelTable& table);
void conv_chain(const ConvChain& chain, ThreadPool& pool, void* scratch, const KernelTable& table);

}  // namespace tenon::cpu
