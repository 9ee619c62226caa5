// Elementwise functions as instructions of a vector unit, over one tile. What the unit has not
// (sigmoid on Ascend, gelu anywhere) is put together of what it has.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "lower/program_builder.h"
#include "ops/activation.h"
#include "ops/quantize.h"

namespace tenon::lower {

// A tile in the vector unit's memory, or a number that stands for all its elements.
struct Register {
  View view;
  std::optional<double> number;
  std::shared_ptr<void> place;  // returns a temporary place when nobody holds it any more
};

// What reals are while the vector unit computes with them: it has no arithmetic on bf16.
inline DType computed_dtype(DType dtype) {
  return dtype == DType::bf16 ? DType::f32 : dtype;
}

class VectorCode {
 public:
  // Tiles have these sizes, temporaries `slot_bytes`, and reals are computed in `real`; what is of
  // bf16 is f32 while it is computed with.
  VectorCode(ProgramBuilder& builder, int memory, int64_t slot_bytes, DType real);

  // Functions that lose much in f16 are computed in f32 from now on. Temporaries need the room.
  void set_wide() { is_wide_ = true; }

  // The axes of temporary tiles from now on.
  void set_tile(std::vector<Axis> axes) { axes_ = std::move(axes); }
  DType real() const { return real_; }
  // Temporary places that were in use at once.
  int slots() const { return static_cast<int>(slots_->size()); }
  // Bytes of the widest element that any of them had.
  int64_t widest() const { return widest_; }

  // The result of a pointwise node. Errors: unsupported where the unit cannot compute it.
  Result<Register> apply(const Node& node, std::span<const Register> given);
  Result<Register> activate(ActivationKind kind, double alpha, double beta,
                            const Register& operand);

  // Writes `x` to `to`, in place of where it was computed if that was the last instruction.
  void store(const Register& x, const View& to);
  // x as a tile of this type.
  Register tile(const Register& x, DType dtype);
  // x as it is computed with.
  Register computed(const Register& x);

  // What is computed from now on is rounded to bytes: small values need not be exact.
  void set_rough(bool is_rough) { is_rough_ = is_rough; }

  // x as whole numbers in i32, to even or downwards.
  Register round(const Register& x, DType to = DType::i32);
  Register floor(const Register& x);
  // x as whole numbers in its own type, also where i32 does not hold them.
  Register whole_number(const Register& x, isa::Rounding rounding);

  Register unary(Opcode op, const Register& operand);
  Register binary(Opcode op, const Register& left_operand, const Register& right_operand);
  Register compare(isa::Relation relation, const Register& left, const Register& right);
  Register select(const Register& condition, const Register& left, const Register& right);
  Register temporary(DType dtype);
  void emit(Opcode op, const Register& to, const Register& from);
  void emit_fill(const Register& to, double value);

  Register sigmoid(const Register& x);
  Register tanh(const Register& x);
  Register clip(const Register& x, double low, double high);

 private:
  Register number(double x) const { return {{}, x, nullptr}; }
  Register in_f32(const Register& x, Register (VectorCode::*f)(const Register&));
  Register gelu(const Register& x, bool approximate);
  Register erf_of_magnitude(const Register& magnitude);
  Register softplus(const Register& x);
  Register elu(const Register& x, double inner, double alpha, double gamma);
  Result<Register> power(const Register& x, double exponent);
  Register fake_quant(const FakeQuantLevels& levels, const Register& x);
  Result<Register> apply_unary(const Node& node, const Register& x);
  Result<Register> apply_binary(const Node& node, const Register& a, const Register& b);
  Result<Register> quantise(const Node& node, std::span<const Register> operands);
  Register convert(const Register& x, DType to, isa::Rounding rounding);
  bool has(Opcode op) const;

  ProgramBuilder& builder_;
  int memory_;
  int64_t slot_bytes_;
  DType real_;
  bool is_wide_ = false, is_rough_ = false;
  int64_t widest_ = 1;
  std::vector<Axis> axes_;
  // Places of temporaries and whether each is free; shared with the registers.
  struct Slot {
    int64_t place;
    bool free;
  };
  std::shared_ptr<std::vector<Slot>> slots_ = std::make_shared<std::vector<Slot>>();
};

}  // namespace tenon::lower
