// Rules of special functions.
#include "import/tensorflow/compose.h"

namespace tenon::tf {
namespace {

// A function of which the core has the form scaled by e^x (or e^|x|): scaled(x) times e^sign x.
template <OpName kScaled, int kSign>
Values unscaled(RuleContext& c) {
  Builder& b = c.builder;
  Value* x = c.inputs[0];
  Value* exponent = TRY(b.op(kSign > 0 ? "abs" : "neg", {x}));
  return one(b.op("mul", {TRY(b.op(kScaled.text, {x})), TRY(b.op("exp", {exponent}))}));
}

// The number of bits that are set: sums of neighbouring bits, pairs, groups of four, and then of
// all bytes by a multiplication.
Values population_count(RuleContext& c) {
  Builder& b = c.builder;
  constexpr DType kUnsigned[] = {DType::u8, DType::u16, DType::u32, DType::u64};
  Value* x = c.inputs[0];
  for (const DType t : kUnsigned)
    if (dtype_size(t) == dtype_size(x->dtype())) x = TRY(b.op("bitcast", {x}, {{"to", t}}));
  x = TRY(cast_to(c, x, DType::u64));
  const auto word = [&](uint64_t v) { return b.constant(Tensor::scalar(v)); };
  const auto masked = [&](Value* v, uint64_t mask) { return b.op("bitwise_and", {v, word(mask)}); };
  const auto shifted = [&](Value* v, uint64_t by) { return b.op("shift_right", {v, word(by)}); };
  x = TRY(b.op("sub", {x, TRY(masked(TRY(shifted(x, 1)), 0x5555555555555555))}));
  x = TRY(b.op("add", {TRY(masked(x, 0x3333333333333333)),
                       TRY(masked(TRY(shifted(x, 2)), 0x3333333333333333))}));
  x = TRY(masked(TRY(b.op("add", {x, TRY(shifted(x, 4))})), 0x0F0F0F0F0F0F0F0F));
  x = TRY(shifted(TRY(b.op("mul", {x, word(0x0101010101010101)})), 56));
  return one(cast_to(c, x, DType::u8));
}

constexpr RuleEntry kRules[] = {
    {"BesselI0", unscaled<"bessel_i0e", 1>},
    {"BesselI0e", same<"bessel_i0e">},
    {"BesselI1", unscaled<"bessel_i1e", 1>},
    {"BesselI1e", same<"bessel_i1e">},
    {"BesselJ0", same<"bessel_j0">},
    {"BesselJ1", same<"bessel_j1">},
    {"BesselK0", unscaled<"bessel_k0e", -1>},
    {"BesselK0e", same<"bessel_k0e">},
    {"BesselK1", unscaled<"bessel_k1e", -1>},
    {"BesselK1e", same<"bessel_k1e">},
    {"BesselY0", same<"bessel_y0">},
    {"BesselY1", same<"bessel_y1">},
    {"Betainc", same<"betainc">, 3},
    {"Dawsn", same<"dawson">},
    {"Expint", same<"exponential_integral">},
    {"FresnelCos", same<"fresnel_cos">},
    {"FresnelSin", same<"fresnel_sin">},
    {"Igamma", same<"igamma">, 2},
    {"Igammac", same<"igammac">, 2},
    {"Ndtri", same<"ndtri">},
    {"NextAfter", same<"next_after">, 2},
    {"Polygamma", same<"polygamma">, 2},
    {"PopulationCount", population_count},
    {"Spence", same<"spence">},
    {"Zeta", same<"zeta">, 2},
};

}  // namespace

std::span<const RuleEntry> special_rules() {
  return kRules;
}

}  // namespace tenon::tf
