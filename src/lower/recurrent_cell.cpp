// The arithmetic of recurrent cells on the vector unit.
#include "lower/recurrent.h"

namespace tenon::lower {
namespace {

Register number(double x) {
  return {{}, x, nullptr};
}

class Cell {
 public:
  Cell(VectorCode& code, const RecurrentLayer& layer, const CellInputs& in)
      : code_(code), layer_(layer), in_(in) {}

  Result<CellResults> lstm() {
    const Register c = real(in_.c);
    Register new_c = code_.binary(Opcode::mul, TRY(apply(0, peep(sum(1), 2, c))), c);
    const Register input = TRY(apply(0, peep(sum(0), 0, c)));
    const Register candidate = TRY(apply(1, sum(2)));
    new_c = code_.binary(Opcode::add, new_c, code_.binary(Opcode::mul, input, candidate));
    const Register gate = TRY(apply(0, peep(sum(3), 1, new_c)));
    const Register h = code_.binary(Opcode::mul, gate, TRY(apply(2, new_c)));
    return finish(h, &new_c);
  }

  // The gates of a GRU whose reset comes before the product.
  Result<CellResults> gru_gates() {
    const Register reset = TRY(apply(0, sum(1)));
    CellResults out;
    out.h = code_.binary(Opcode::mul, reset, real(in_.h));
    out.c = TRY(apply(0, sum(0)));
    return out;
  }

  Result<CellResults> gru(bool linear) {
    Register candidate, update;
    if (linear) {
      const Register reset = TRY(apply(0, sum(1)));
      Register state = real(in_.sums[2]);
      if (in_.bias) state = code_.binary(Opcode::add, state, real(*in_.bias));
      state = code_.binary(Opcode::mul, state, reset);
      candidate = TRY(apply(1, code_.binary(Opcode::add, state, real(in_.inputs[2]))));
      update = TRY(apply(0, sum(0)));
    } else {
      candidate = TRY(apply(1, code_.binary(Opcode::add, real(in_.sums[0]), real(in_.inputs[2]))));
      update = real(in_.c);
    }
    // n + z (h - n)
    const Register d = code_.binary(Opcode::sub, real(in_.h), candidate);
    return finish(code_.binary(Opcode::add, code_.binary(Opcode::mul, update, d), candidate),
                  nullptr);
  }

  Result<CellResults> rnn() { return finish(TRY(apply(0, sum(0))), nullptr); }

 private:
  Register real(const Register& x) { return code_.tile(x, DType::f32); }
  Register sum(size_t gate) {
    return code_.binary(Opcode::add, real(in_.sums[gate]), real(in_.inputs[gate]));
  }
  Register peep(const Register& x, size_t which, const Register& c) {
    if (in_.peepholes.empty()) return x;
    return code_.binary(Opcode::add, x, code_.binary(Opcode::mul, c, real(in_.peepholes[which])));
  }
  Result<Register> apply(size_t which, const Register& x) {
    const RecurrentLayer::Function& f = layer_.functions[which];
    const Register clipped = layer_.clip > 0 ? code_.clip(x, -layer_.clip, layer_.clip) : x;
    return code_.activate(f.kind, f.alpha, f.beta, clipped);
  }
  CellResults finish(const Register& h, const Register* c) {
    CellResults out{h, c != nullptr ? *c : Register{}, h};
    if (!in_.valid) return out;
    out.h = code_.select(*in_.valid, h, real(in_.h));
    if (c != nullptr) out.c = code_.select(*in_.valid, *c, real(in_.c));
    out.y = layer_.hold ? out.h : code_.select(*in_.valid, h, number(0));
    return out;
  }

  VectorCode& code_;
  const RecurrentLayer& layer_;
  const CellInputs& in_;
};

}  // namespace

Result<CellResults> compute_cell(VectorCode& code, const RecurrentLayer& layer, size_t part,
                                 const CellInputs& in) {
  Cell cell(code, layer, in);
  switch (layer.cell) {
    case RecurrentLayer::Cell::lstm:
      return cell.lstm();
    case RecurrentLayer::Cell::gru:
      if (layer.linear_before_reset) return cell.gru(true);
      return part == 0 ? cell.gru_gates() : cell.gru(false);
    case RecurrentLayer::Cell::rnn:
      break;
  }
  return cell.rnn();
}

}  // namespace tenon::lower
