#include "lower/recurrent_kernel.h"

#include <fmt/format.h>

#include <algorithm>

#include "lower/pack.h"

namespace tenon::lower {
namespace {

using Role = isa::Buffer::Role;

constexpr int64_t kAlign = 128;  // of places, for every family

int64_t aligned(int64_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

RecurrentKernel::RecurrentKernel(Lowering& lowering, const Node& node, const RecurrentLayer& layer,
                                 const RecurrentTiling& tiling, RecurrentTensors tensors)
    : lowering_(lowering),
      node_(node),
      l_(layer),
      t_(tiling),
      tensors_(std::move(tensors)),
      real_(lowering.real()),
      core_(lowering.architecture()),
      b_(lowering, layer_of(node), "recurrent") {}

int64_t RecurrentKernel::vector_bytes(const RecurrentLayer& layer, const RecurrentTiling& tiling,
                                      DType real, int64_t slots) {
  const int64_t tile = tiling.rows * tiling.width, size = bytes_of(real), gates = layer.gates();
  const int64_t in = tile * (gates * size + size + 4) + tiling.rows * 4 + tiling.width * size * 4;
  const int64_t out = tile * (2 * size + 4);
  return in + out + tile * (gates * 4 + slots * 4) + kAlign * 16;
}

void RecurrentKernel::set_buffers() {
  const std::string name = layer_of(node_);
  const int64_t state = l_.directions * l_.batch * l_.hidden;
  const auto value = [&](std::string what, const Value* v) {
    return v == nullptr ? -1 : b_.bind(std::move(what), Role::input, lowering_.tensor_of(v));
  };
  inputs_ = b_.bind("inputs", Role::input, tensors_.inputs);
  for (const int w : tensors_.weights) weights_.push_back(b_.bind("weights", Role::constant, w));
  h0_ = value("h0", l_.h0), c0_ = value("c0", l_.c0);
  lengths_ = value("lengths", l_.lengths);
  if (l_.lengths != nullptr && l_.lengths->dtype() != DType::boolean) {
    const auto count = [steps = l_.steps]() -> Result<Tensor> {
      std::vector<int32_t> all;
      for (int64_t t = 0; t < steps; ++t) all.push_back(static_cast<int32_t>(t));
      return Tensor::vector(all);
    };
    counts_ = b_.bind("counts", Role::constant,
                      lowering_.constant(name + ".counts", DType::i32, l_.steps, count));
  }
  peepholes_ = value("peepholes", l_.p);
  if (l_.linear_before_reset) bias_ = value("state_bias", l_.rb);
  const auto scratch = [&](const char* what, DType dtype, int64_t elements) {
    return b_.bind(what, Role::scratch, lowering_.scratch(name + "." + what, dtype, elements));
  };
  states_ = scratch("states", real_, 2 * state);
  if (l_.has_cell_state() || l_.parts().size() > 1) cells_ = scratch("cells", DType::f32, state);
  if (l_.parts().size() > 1) resets_ = scratch("resets", real_, state);
  if (b_.architecture().queue("fix"))
    sums_ = scratch("sums", DType::f32, t_.grid * t_.groups * t_.rows * l_.gates() * t_.width);
  const auto output = [&](const char* what, int i) {
    return b_.bind(what, Role::output, lowering_.tensor_of(node_.output(i)));
  };
  y_ = output("y", 0), last_h_ = output("last_h", 1);
  if (l_.has_cell_state()) last_c_ = output("last_c", 2);
}

RecurrentKernel::Slot RecurrentKernel::place(int64_t& used, int64_t elements, DType dtype) const {
  const Slot slot{used, dtype};
  used += aligned(elements * bytes_of(dtype));
  return slot;
}

void RecurrentKernel::set_places() {
  const int64_t tile = t_.rows * t_.width;
  int64_t used = 0;
  in_gates_ = place(used, tile * l_.gates(), real_);
  in_h_ = place(used, tile, real_);
  in_c_ = place(used, tile, DType::f32);
  if (l_.lengths != nullptr) {
    const DType dtype = lowering_.device_dtype(l_.lengths->dtype());
    in_length_ = place(used, t_.rows, dtype);
    in_count_ = place(used, 1, DType::i32);
  }
  if (peepholes_ >= 0) in_peepholes_ = place(used, 3 * t_.width, real_);
  if (bias_ >= 0) in_bias_ = place(used, t_.width, real_);
  in_ = b_.ring(core_.memory, used, 1, {core_.load, core_.compute});
  used = 0;
  out_h_ = place(used, tile, real_);
  out_c_ = place(used, tile, DType::f32);
  if (l_.lengths != nullptr) out_y_ = place(used, tile, real_);
  out_ = b_.ring(core_.memory, used, 1, {core_.compute, core_.store});
}

Expr RecurrentKernel::width(const Expr& own) const {
  if (l_.hidden % t_.width == 0) return t_.width;
  return min(t_.width, Expr(l_.hidden) - tile_of(own) * t_.width);
}
std::vector<Axis> RecurrentKernel::local_tile(const Expr& own) const {
  return {{rows_, t_.width}, {width(own), 1}};
}
std::vector<Axis> RecurrentKernel::global_tile(const Expr& own) const {
  return {{rows_, l_.hidden}, {width(own), 1}};
}
Expr RecurrentKernel::state_at(const Expr& own) const {
  return (direction_ * l_.batch + first_row_) * l_.hidden + tile_of(own) * t_.width;
}
View RecurrentKernel::in(const Slot& slot, std::vector<Axis> axes, const Expr& turn) const {
  return b_.local(core_.memory, in_.place(turn) + slot.at, slot.dtype, std::move(axes));
}
View RecurrentKernel::out(const Slot& slot, std::vector<Axis> axes, const Expr& turn) const {
  return b_.local(core_.memory, out_.place(turn) + slot.at, slot.dtype, std::move(axes));
}

Expr RecurrentKernel::state_of(const Expr& s) const {
  return s % 2 * (l_.directions * l_.batch * l_.hidden);
}

Expr RecurrentKernel::time(const Expr& s) const {
  const Expr back = Expr(l_.steps - 1) - s;
  if (l_.directions == 1) return l_.reverse ? back : s;
  // Bounds that hold for each direction alone are said for both.
  return min(max(s * (Expr(1) - direction_) + back * direction_, 0), l_.steps - 1);
}

Expr RecurrentKernel::turn_of(const Expr& s, size_t part, const Expr& own) const {
  const auto parts = static_cast<int64_t>(l_.parts().size());
  return ((job_ * l_.steps + s) * parts + static_cast<int64_t>(part)) * t_.own_tiles() + own;
}

// Every tile's state before the first step.
void RecurrentKernel::begin(VectorCode& code) {
  b_.loop(own_tiles_, [&](const Expr& own) {
    const Expr turn = 0;
    const auto local = local_tile(own), global = global_tile(own);
    in_.enter(0, turn);
    if (h0_ >= 0)
      b_.emit(Opcode::copy, {in(in_h_, local, turn), b_.global(h0_, state_at(own), global)});
    // As it is in memory, for the vector unit to convert.
    Slot first_c = in_c_;
    first_c.dtype = real_;
    if (c0_ >= 0)
      b_.emit(Opcode::copy, {in(first_c, local, turn), b_.global(c0_, state_at(own), global)});
    in_.leave(0, turn);
    in_.enter(1, turn);
    out_.enter(0, turn);
    code.set_tile(local);
    const auto put = [&](int from, const Slot& slot, const View& to) {
      if (from >= 0)
        code.store({in(slot, local, turn), std::nullopt, nullptr}, to);
      else
        b_.emit(Opcode::fill, {to});
    };
    put(h0_, in_h_, out(out_h_, local, turn));
    if (l_.has_cell_state()) put(c0_, first_c, out(out_c_, local, turn));
    in_.leave(1, turn);
    out_.leave(0, turn);
    out_.enter(1, turn);
    b_.emit(Opcode::copy, {b_.global(states_, state_at(own), global), out(out_h_, local, turn)});
    if (l_.has_cell_state())
      b_.emit(Opcode::copy, {b_.global(cells_, state_at(own), global), out(out_c_, local, turn)});
    out_.leave(1, turn);
  });
  b_.barrier();
}

// The last states as results.
void RecurrentKernel::end(VectorCode& code) {
  b_.loop(own_tiles_, [&](const Expr& own) {
    const Expr turn = 0;
    const auto local = local_tile(own), global = global_tile(own);
    in_.enter(0, turn);
    b_.emit(Opcode::copy, {in(in_h_, local, turn),
                           b_.global(states_, state_of(l_.steps) + state_at(own), global)});
    if (last_c_ >= 0)
      b_.emit(Opcode::copy, {in(in_c_, local, turn), b_.global(cells_, state_at(own), global)});
    in_.leave(0, turn);
    in_.enter(1, turn);
    out_.enter(0, turn);
    code.set_tile(local);
    code.store({in(in_h_, local, turn), std::nullopt, nullptr}, out(out_h_, local, turn));
    Slot c = out_c_;
    c.dtype = real_;
    if (last_c_ >= 0)
      code.store({in(in_c_, local, turn), std::nullopt, nullptr}, out(c, local, turn));
    in_.leave(1, turn);
    out_.leave(0, turn);
    out_.enter(1, turn);
    b_.emit(Opcode::copy, {b_.global(last_h_, state_at(own), global), out(out_h_, local, turn)});
    if (last_c_ >= 0)
      b_.emit(Opcode::copy, {b_.global(last_c_, state_at(own), global), out(c, local, turn)});
    out_.leave(1, turn);
  });
}

void RecurrentKernel::load_tile(size_t part, const Expr& s, const Expr& own, const Expr& turn) {
  const int64_t gates = l_.gates(), all = l_.directions * gates * l_.hidden;
  const auto local = local_tile(own), global = global_tile(own);
  const Expr row = time(s) * l_.batch + first_row_;
  const auto state = [&](const Slot& slot, int buffer, const Expr& at) {
    b_.emit(Opcode::copy, {in(slot, local, turn), b_.global(buffer, at + state_at(own), global)});
  };
  in_.enter(0, turn);
  b_.emit(
      Opcode::copy,
      {in(in_gates_, {{rows_, gates * t_.width}, {gates, t_.width}, {width(own), 1}}, turn),
       b_.global(inputs_, row * all + direction_ * (gates * l_.hidden) + tile_of(own) * t_.width,
                 {{rows_, all}, {gates, l_.hidden}, {width(own), 1}})});
  if (l_.cell == RecurrentLayer::Cell::gru || l_.lengths != nullptr)
    state(in_h_, states_, state_of(s));
  if (l_.has_cell_state() || part == 1) state(in_c_, cells_, 0);
  if (lengths_ >= 0) {
    const Expr at = counts_ >= 0 ? first_row_ : row;
    b_.emit(Opcode::copy,
            {in(in_length_, {{rows_, 1}}, turn), b_.global(lengths_, at, {{rows_, 1}})});
    if (counts_ >= 0)
      b_.emit(Opcode::copy, {in(in_count_, {{1, 1}}, turn), b_.global(counts_, time(s), {{1, 1}})});
  }
  const Expr of_direction = direction_ * l_.hidden, unit = tile_of(own) * t_.width;
  if (peepholes_ >= 0)
    b_.emit(Opcode::copy,
            {in(in_peepholes_, {{3, t_.width}, {width(own), 1}}, turn),
             b_.global(peepholes_, of_direction * 3 + unit, {{3, l_.hidden}, {width(own), 1}})});
  if (bias_ >= 0)
    b_.emit(Opcode::copy,
            {in(in_bias_, {{width(own), 1}}, turn),
             b_.global(bias_, of_direction * 3 + 2 * l_.hidden + unit, {{width(own), 1}})});
  in_.leave(0, turn);
}

CellInputs RecurrentKernel::cell_inputs(VectorCode& code, size_t part, const Expr& own,
                                        const View& sums, const Expr& turn) {
  CellInputs c;
  const int64_t columns = l_.parts()[part] * t_.width;
  for (int64_t g = 0; g < l_.parts()[part]; ++g)
    c.sums.push_back({b_.local(core_.memory, sums.offset + g * t_.width * 4, DType::f32,
                               {{rows_, columns}, {width(own), 1}}),
                      std::nullopt, nullptr});
  for (int64_t g = 0; g < l_.gates(); ++g) {
    Slot gate = in_gates_;
    gate.at += g * t_.width * bytes_of(real_);
    c.inputs.push_back(
        {in(gate, {{rows_, l_.gates() * t_.width}, {width(own), 1}}, turn), std::nullopt, nullptr});
  }
  const auto local = local_tile(own);
  c.h.view = in(in_h_, local, turn), c.c.view = in(in_c_, local, turn);
  for (int64_t i = 0; peepholes_ >= 0 && i < 3; ++i) {
    Slot p = in_peepholes_;
    p.at += i * t_.width * bytes_of(real_);
    c.peepholes.push_back({in(p, {{rows_, 0}, {width(own), 1}}, turn), std::nullopt, nullptr});
  }
  if (bias_ >= 0)
    c.bias = Register{in(in_bias_, {{rows_, 0}, {width(own), 1}}, turn), std::nullopt, nullptr};
  if (lengths_ >= 0 && part + 1 == l_.parts().size()) {
    Register valid{in(in_length_, {{rows_, 1}}, turn), std::nullopt, nullptr};
    if (counts_ >= 0) {
      code.set_tile({{rows_, 1}});
      const Register now{in(in_count_, {{rows_, 0}}, turn), std::nullopt, nullptr};
      valid = code.compare(isa::Relation::less, now, valid);
    }
    valid.view.axes = {{rows_, 1}, {width(own), 0}};
    c.valid = valid;
  }
  code.set_tile(local);
  return c;
}

void RecurrentKernel::tile(VectorCode& code, size_t part, const Expr& s, const Expr& own) {
  const Expr turn = turn_of(s, part, own);
  const auto parts = static_cast<int64_t>(l_.parts().size());
  const Expr step = (job_ * l_.steps + s) * parts + static_cast<int64_t>(part);
  load_tile(part, s, own, turn);
  const View sums = product_->multiply(part, direction_, own, rows_, step, job_, turn);
  in_.enter(1, turn);
  CellInputs inputs = cell_inputs(code, part, own, sums, turn);
  auto result = compute_cell(code, l_, part, inputs);
  if (!result.ok()) {
    status_ = std::move(result).error();
    return;
  }
  const bool last = part + 1 == l_.parts().size();
  const bool stores_c = l_.has_cell_state() || !last, stores_y = last && lengths_ >= 0;
  const auto local = local_tile(own), global = global_tile(own);
  out_.enter(0, turn);
  // The state is read as y, too, so it is not stored in place of where it was computed.
  code.store(result->h, out(out_h_, local, turn));
  if (stores_c) code.store(result->c, out(out_c_, local, turn));
  if (stores_y) code.store(result->y, out(out_y_, local, turn));
  *result = {};
  inputs = {};
  out_.leave(0, turn);
  in_.leave(1, turn);
  product_->release(turn);
  out_.enter(1, turn);
  const auto put = [&](int buffer, const Expr& at, const Slot& slot) {
    b_.emit(Opcode::copy, {b_.global(buffer, at, global), out(slot, local, turn)});
  };
  if (last)
    put(states_, state_of(s + 1) + state_at(own), out_h_);
  else
    put(resets_, state_at(own), out_h_);
  if (stores_c) put(cells_, state_at(own), out_c_);
  if (last)
    put(y_, time(s) * (l_.directions * l_.batch * l_.hidden) + state_at(own),
        stores_y ? out_y_ : out_h_);
  out_.leave(1, turn);
}

void RecurrentKernel::step(VectorCode& code, const Expr& s) {
  const auto parts = static_cast<int64_t>(l_.parts().size());
  const Expr rows = (direction_ * l_.batch + first_row_) * l_.hidden;
  for (size_t part = 0; part < l_.parts().size(); ++part) {
    const Expr turn = (job_ * l_.steps + s) * parts + static_cast<int64_t>(part);
    if (part == 0)
      product_->load_state(states_, state_of(s) + rows, rows_, turn);
    else
      product_->load_state(resets_, rows, rows_, turn);
    if (t_.own_tiles() == 1)
      b_.loop(own_tiles_, [&](const Expr&) { tile(code, part, s, 0); });
    else
      b_.loop(own_tiles_, [&](const Expr& own) { tile(code, part, s, own); });
    product_->release_state(turn);
    b_.barrier();
  }
}

Status RecurrentKernel::run() {
  set_buffers();
  b_.set_blocks(t_.grid * t_.groups);
  set_places();
  const Expr group = b_.block() / t_.grid;
  first_tile_ = b_.block() % t_.grid;
  own_tiles_ = (Expr(t_.tiles + t_.grid - 1) - first_tile_) / t_.grid;
  const StepContext context{b_, l_, t_, real_, weights_, sums_, first_tile_};
  product_ = std::holds_alternative<AscendChip>(lowering_.machine().chip)
                 ? make_ascend_step(context)
                 : make_cambricon_step(context);
  VectorCode code(b_, core_.memory, t_.rows * t_.width * 4, DType::f32);
  b_.loop(l_.directions * t_.row_tiles / t_.groups, [&](const Expr& i) {
    const Expr job = i * t_.groups + group, row_tile = job / l_.directions;
    job_ = i;
    direction_ = job % l_.directions;
    first_row_ = row_tile * t_.rows;
    rows_ = l_.batch % t_.rows == 0 ? Expr(t_.rows) : min(t_.rows, Expr(l_.batch) - first_row_);
    product_->load_weights(direction_, own_tiles_, job_);
    begin(code);
    b_.loop(l_.steps, [&](const Expr& s) { step(code, s); });
    end(code);
    product_->release_weights(job_);
  });
  TRY(std::move(status_));
  return lowering_.add(
      node_, b_,
      fmt::format("{} sequences by {} units at once, cores {}x{}{}", t_.rows, t_.width, t_.groups,
                  t_.grid, t_.resident ? ", weights stay on the core" : ""));
}

}  // namespace tenon::lower
