// Lowers lstm, gru and rnn; see recurrent.h.
#include "lower/recurrent.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/numbers.h"
#include "lower/pack.h"
#include "lower/product.h"
#include "lower/recurrent_kernel.h"
#include "lower/vector_core.h"
#include "ops/recurrent.h"
#include "simulate/cost.h"

namespace tenon::lower {
namespace {

RecurrentLayer::Function function(ActivationKind kind, size_t i, const std::vector<double>& alphas,
                                  const std::vector<double>& betas) {
  RecurrentLayer::Function f{kind, 0, 0};
  if (kind == ActivationKind::hard_sigmoid) f = {kind, 0.2, 0.5};
  if (kind == ActivationKind::leaky_relu) f.alpha = 0.01;
  if (kind == ActivationKind::elu) f.alpha = 1;
  if (i < alphas.size()) f.alpha = alphas[i];
  if (i < betas.size()) f.beta = betas[i];
  return f;
}

// What is the same in all three ops; operands by their numbers, -1 for none.
template <typename Op>
RecurrentLayer common(const Node& node, const Op& op, int rb, int lengths, int h0, int c0, int p) {
  const auto in = [&](int i) { return i < 0 || i >= node.input_count() ? nullptr : node.input(i); };
  RecurrentLayer l;
  const auto x = dims_of(node.input(0)), r = dims_of(node.input(2));
  l.steps = x[0], l.batch = x[1], l.inputs = x[2];
  l.directions = r[0], l.hidden = r[1];
  l.reverse = op.direction == Direction::reverse;
  l.hold = op.hold;
  l.clip = op.clip;
  l.x = in(0), l.w = in(1), l.r = in(2), l.b = in(3);
  l.rb = in(rb), l.lengths = in(lengths), l.h0 = in(h0), l.c0 = in(c0), l.p = in(p);
  return l;
}

Result<RecurrentLayer> layer_from(const Node& node) {
  RecurrentLayer l;
  if (const auto* op = node.as<Lstm>()) {
    l = common(node, *op, -1, 4, 5, 6, 7);
    l.cell = RecurrentLayer::Cell::lstm;
    l.functions = {function(op->f, 0, op->alphas, op->betas),
                   function(op->g, 1, op->alphas, op->betas),
                   function(op->h, 2, op->alphas, op->betas)};
  } else if (const auto* op = node.as<Gru>()) {
    l = common(node, *op, 4, 5, 6, -1, -1);
    l.cell = RecurrentLayer::Cell::gru;
    l.linear_before_reset = op->linear_before_reset;
    l.functions = {function(op->f, 0, op->alphas, op->betas),
                   function(op->g, 1, op->alphas, op->betas)};
  } else if (const auto* op = node.as<Rnn>()) {
    l = common(node, *op, -1, 4, 5, -1, -1);
    l.functions = {function(op->activation, 0, op->alphas, op->betas)};
  }
  for (const Value* v : {l.w, l.r})
    if (v->constant() == nullptr) return unsupported("its weights are no constants");
  for (const Value* v : {l.b, l.rb})
    if (v != nullptr && v->constant() == nullptr) return unsupported("its bias is no constant");
  if (l.w->dtype() == DType::i8) {
    const int scales = recurrent_scales(node.op());
    for (const int i : {scales, scales + 1})
      if (node.input(i)->constant() == nullptr)
        return unsupported("its weights' scales are no constants");
    l.w_scale = *node.input(scales)->constant(), l.r_scale = *node.input(scales + 1)->constant();
  }
  // Lengths that are all of the sequence say nothing.
  if (l.lengths != nullptr && l.lengths->constant() != nullptr &&
      l.lengths->dtype() != DType::boolean) {
    const auto lengths = l.lengths->constant()->to_ints();
    if (std::ranges::all_of(lengths, [&](int64_t n) { return n >= l.steps; })) l.lengths = nullptr;
  }
  return l;
}

// Element `column` of row `row`, counted through the directions of `rows` rows each, as a real.
double weight(const Tensor& w, const Tensor& scale, int64_t rows, int64_t row, int64_t column) {
  const int64_t n = w.dim(2);
  const double v = w.real_at(row * n + column);
  return scale.defined() ? v * scale.real_at(row / rows * n + column) : v;
}

// Weights of all directions side by side: [I, D * gates * H].
std::shared_ptr<const Tensor> side_by_side(const RecurrentLayer& l) {
  const int64_t n = l.gates() * l.hidden;
  const Tensor& w = *l.w->constant();
  std::vector<float> all(static_cast<size_t>(l.inputs * l.directions * n));
  for (int64_t d = 0; d < l.directions; ++d)
    for (int64_t k = 0; k < l.inputs; ++k)
      for (int64_t j = 0; j < n; ++j)
        all[static_cast<size_t>((k * l.directions + d) * n + j)] =
            static_cast<float>(weight(w, l.w_scale, l.inputs, d * l.inputs + k, j));
  return std::make_shared<const Tensor>(Tensor::vector(all));
}

// Biases of the inputs' product: those of the state, too, but where the reset gate comes between.
int bias_of(Lowering& lowering, const RecurrentLayer& l, const std::string& name) {
  if (l.b == nullptr && l.rb == nullptr) return -1;
  const int64_t n = l.gates() * l.hidden, all = l.directions * n;
  const int64_t added = l.linear_before_reset ? 2 * l.hidden : n;
  const Tensor* b = l.b == nullptr ? nullptr : l.b->constant();
  const Tensor* rb = l.rb == nullptr ? nullptr : l.rb->constant();
  return lowering.constant(name + ".bias", lowering.real(), all,
                           [=, real = lowering.real()]() -> Result<Tensor> {
                             std::vector<float> sum(static_cast<size_t>(all), 0);
                             for (int64_t i = 0; i < all; ++i) {
                               double v = b == nullptr ? 0 : b->real_at(i);
                               if (rb != nullptr && i % n < added) v += rb->real_at(i);
                               sum[static_cast<size_t>(i)] = static_cast<float>(v);
                             }
                             return converted(Tensor::vector(sum), real);
                           });
}

// Weights of the state, a block per direction and tile, of the gates [first, first + gates).
int pack_state_weights(Lowering& lowering, const RecurrentLayer& l, const RecurrentTiling& t,
                       size_t part, int64_t first, const std::string& name) {
  const int64_t gates = l.parts()[part], columns = gates * t.width;
  const bool ascend = std::holds_alternative<AscendChip>(lowering.machine().chip);
  const DType real = lowering.real();
  const auto make = [=, r = *l.r->constant(), scale = l.r_scale, h = l.hidden,
                     directions = l.directions]() -> Result<Tensor> {
    FractalShape f;
    f.channels = t.k, f.columns = columns;
    f.k0 = 32 / bytes_of(real);
    const int64_t block = t.k * columns;
    std::vector<float> packed;
    packed.reserve(static_cast<size_t>(directions * t.tiles * block));
    std::vector<float> m(static_cast<size_t>(block));
    for (int64_t d = 0; d < directions; ++d)
      for (int64_t tile = 0; tile < t.tiles; ++tile) {
        std::ranges::fill(m, 0.0F);
        for (int64_t k = 0; k < h; ++k)
          for (int64_t g = 0; g < gates; ++g)
            for (int64_t j = 0; j < t.width && tile * t.width + j < h; ++j)
              m[static_cast<size_t>(k * columns + g * t.width + j)] = static_cast<float>(
                  weight(r, scale, h, d * h + k, (first + g) * h + tile * t.width + j));
        const auto pack = ascend ? pack_fractals : pack_rows;
        const Tensor one = TRY(pack(Tensor::vector(m), f, DType::f32));
        packed.insert(packed.end(), one.data<float>(), one.data<float>() + block);
      }
    return converted(Tensor::vector(packed), real);
  };
  return lowering.constant(fmt::format("{}.state_weights{}", name, part), real,
                           l.directions * t.tiles * t.k * columns, make);
}

// Temporary tiles that a cell takes. Errors: activations that the unit has not.
Result<int64_t> cell_slots(const Lowering& lowering, const RecurrentLayer& l) {
  const VectorCore core(lowering.architecture());
  int64_t most = 0;
  for (size_t part = 0; part < l.parts().size(); ++part) {
    ProgramBuilder scratch(lowering.architecture(), "", "");
    VectorCode code(scratch, core.memory, 32, DType::f32);
    const auto reg = [&](DType dtype) {
      return Register{scratch.local(core.memory, 0, dtype, {}), std::nullopt, nullptr};
    };
    CellInputs in;
    in.sums.assign(static_cast<size_t>(l.parts()[part]), reg(DType::f32));
    in.inputs.assign(static_cast<size_t>(l.gates()), reg(lowering.real()));
    in.h = reg(lowering.real()), in.c = reg(DType::f32);
    if (l.lengths != nullptr) in.valid = reg(DType::boolean);
    if (l.p != nullptr) in.peepholes.assign(3, reg(lowering.real()));
    if (l.rb != nullptr) in.bias = reg(lowering.real());
    TRY(compute_cell(code, l, part, in));
    most = std::max<int64_t>(most, code.slots());
  }
  return most + (l.lengths != nullptr ? 1 : 0);
}

// Seconds of all steps, by the rates of the chip.
double estimate(const Machine& machine, const RecurrentLayer& l, DType real,
                const RecurrentTiling& t) {
  double rate = 0, share = 0, macs = 0, lanes = 0, clock = 0, bandwidth = 0;
  if (const auto* a = std::get_if<AscendChip>(&machine.chip)) {
    clock = a->cube_clock, rate = share = a->l2_read, bandwidth = a->memory_bandwidth;
    macs = real == DType::f32 ? a->macs_f32 : a->macs_f16, lanes = a->vector_bytes / 4;
  } else {
    const auto& c = std::get<CambriconChip>(machine.chip);
    clock = c.clock, rate = c.io_bytes, bandwidth = c.memory_bandwidth;
    macs = simulate::product_macs(c, real), lanes = c.vector_bytes / 4;
  }
  const auto blocks = static_cast<double>(t.grid * t.groups),
             own = static_cast<double>(t.own_tiles());
  const auto weights = static_cast<double>(l.gates() * t.width * t.k * bytes_of(real)) * own;
  const double stream = weights / std::min(rate, bandwidth / clock / blocks);
  const auto rows = static_cast<double>(ceil_div(t.rows, 16) * 16),
             width = static_cast<double>(t.width);
  const double product = rows * static_cast<double>(l.gates() * t.k) * width * own / macs;
  const double vector = static_cast<double>(t.rows) * width * own * 40 / lanes;
  constexpr double kTurn = 2000;  // cycles that the way of a state through the memory takes
  const double step = kTurn + std::max(product, t.resident ? 0 : stream) + vector + own * 500;
  const int64_t turns = l.directions * t.row_tiles / t.groups;
  const auto jobs = static_cast<double>(turns);
  return jobs * (static_cast<double>(l.steps) * step + stream) / clock;
}

Result<RecurrentTiling> tile(const Lowering& lowering, const RecurrentLayer& l, int64_t slots) {
  const isa::Architecture& a = lowering.architecture();
  const StepRules rules = step_rules(lowering.machine(), lowering.real());
  const VectorCore core(a);
  const int64_t memory = a.memories[static_cast<size_t>(core.memory)].bytes - 16384;
  std::optional<RecurrentTiling> best;
  for (int64_t width = rules.unit; width <= ceil_div(l.hidden, rules.unit) * rules.unit;
       width += rules.unit) {
    if (l.gates() * width > rules.most_columns && width > rules.unit) break;
    for (int64_t parts = 1; parts <= l.batch; parts *= 2) {
      RecurrentTiling t;
      t.width = width, t.tiles = ceil_div(l.hidden, width);
      t.rows = ceil_div(l.batch, parts), t.row_tiles = ceil_div(l.batch, t.rows);
      t.k = ceil_div(l.hidden, rules.unit) * rules.unit;
      if (RecurrentKernel::vector_bytes(l, t, lowering.real(), slots) +
              (rules.is_cambricon ? t.rows * t.k * bytes_of(lowering.real()) : 0) >
          memory)
        continue;
      const int64_t jobs = l.directions * t.row_tiles;
      for (t.groups = 1; t.groups <= std::min(jobs, a.cores); ++t.groups) {
        if (jobs % t.groups != 0) continue;
        t.grid = std::min(t.tiles, a.cores / t.groups);
        if (!step_fits(lowering.machine(), l, lowering.real(), t)) continue;
        t.seconds = estimate(lowering.machine(), l, lowering.real(), t);
        if (!best || t.seconds < best->seconds) best = t;
      }
    }
  }
  if (!best) return unsupported("no tile of its steps fits on a core");
  return *best;
}

}  // namespace

Status lower_recurrent(Lowering& lowering, const Node& node) {
  const RecurrentLayer l = TRY(layer_from(node));
  const auto* ascend = std::get_if<AscendChip>(&lowering.machine().chip);
  if (ascend != nullptr && lowering.real() == DType::f32 && ascend->macs_f32 == 0)
    return unsupported("the chip has no products of f32");
  if (!is_float(lowering.real())) return unsupported("chips have no recurrent layers of integers");
  const int64_t slots = TRY(cell_slots(lowering, l));
  const RecurrentTiling t = TRY(tile(lowering, l, slots));
  const std::string name = layer_of(node);

  Product p;
  p.layer = name + ".inputs";
  p.rows = l.steps * l.batch, p.k = l.inputs, p.columns = l.directions * l.gates() * l.hidden;
  p.a_row = p.k, p.b_row = p.y_row = p.columns;
  p.b_constant =
      l.directions == 1 && !l.w_scale.defined() ? l.w->constant() : lowering.keep(side_by_side(l));
  p.a = lowering.tensor_of(l.x);
  p.bias = bias_of(lowering, l, name);
  p.y = lowering.scratch(p.layer, lowering.real(), p.rows * p.columns);
  TRY(add_product(lowering, node, p));

  RecurrentTensors tensors;
  tensors.inputs = p.y;
  int64_t first = 0;
  for (size_t part = 0; part < l.parts().size(); ++part) {
    tensors.weights.push_back(pack_state_weights(lowering, l, t, part, first, name));
    first += l.parts()[part];
  }
  return RecurrentKernel(lowering, node, l, t, std::move(tensors)).run();
}

}  // namespace tenon::lower
