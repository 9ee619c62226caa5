// Reference evaluation of the recurrent layers.
#include "ops/nn_util.h"
#include "ops/recurrent.h"

namespace tenon {
namespace {

using Vec = std::vector<double>;

// An activation with its parameters; the input is clipped first.
struct Function {
  ActivationKind kind;
  double alpha, beta, clip;

  double operator()(double v) const {
    if (clip > 0) v = v < -clip ? -clip : (v > clip ? clip : v);
    return activate(kind, alpha, beta, v);
  }
};

Function function(ActivationKind kind, size_t i, const Vec& alphas, const Vec& betas, double clip) {
  double alpha = 0, beta = 0;
  if (kind == ActivationKind::hard_sigmoid) alpha = 0.2, beta = 0.5;
  if (kind == ActivationKind::leaky_relu) alpha = 0.01;
  if (kind == ActivationKind::elu) alpha = 1;
  return {kind, i < alphas.size() ? alphas[i] : alpha, i < betas.size() ? betas[i] : beta, clip};
}

// out[columns] += v[rows] * m[rows, columns], columns [first, first + n) only.
void add_product(const double* v, const double* m, size_t rows, size_t columns, size_t first,
                 size_t n, double* out) {
  for (size_t k = 0; k < rows; ++k)
    for (size_t j = 0; j < n; ++j) out[first + j] += v[k] * m[k * columns + first + j];
}

// A row as dynamic_quantize_linear rounds it.
void round_row(std::span<double> row) {
  float low = 0, high = 0;
  for (const double v : row) {
    low = std::min(low, static_cast<float>(v));
    high = std::max(high, static_cast<float>(v));
  }
  const float range = (high - low) / 255.0f, scale = range > 0 ? range : 1.0f;
  const float zero = std::clamp(std::nearbyint(-low / scale), 0.0f, 255.0f);
  for (double& v : row) {
    const float q = std::nearbyint(static_cast<float>(v) / scale) + zero;
    v = static_cast<double>(std::clamp(q, 0.0f, 255.0f) - zero) * static_cast<double>(scale);
  }
}

// What of a row is multiplied by weights of bytes.
void round_factors(std::span<double> row, bool two_bytes) {
  Vec rest(row.begin(), row.end());
  round_row(row);
  if (!two_bytes) return;
  for (size_t i = 0; i < row.size(); ++i) rest[i] -= row[i];
  round_row(rest);
  for (size_t i = 0; i < row.size(); ++i) row[i] += rest[i];
}

// The operands in double, and what one step of one sequence works on.
struct Layer {
  size_t steps, batch, inputs, hidden, columns;
  bool two_bytes = false;
  bool rounds = false;  // what is multiplied by the weights
  Vec x, w, r, b, rb, h0, c0, p;
  std::vector<int64_t> lengths;
  std::vector<double> mask;  // [steps, batch], or empty
};

Vec optional_reals(const EvalContext& context, int i) {
  return i >= 0 && context.has(i) ? nn::reals(context.in(i)) : Vec{};
}

// Bytes of [D, k, columns] by their scales.
void scale_weights(const Tensor& scales, size_t columns, Vec& w) {
  const size_t matrix = w.size() / std::max<size_t>(1, static_cast<size_t>(scales.dim(0)));
  for (size_t i = 0; i < w.size(); ++i)
    w[i] *= scales.real_at(static_cast<int64_t>(i / matrix * columns + i % columns));
}

Layer load(const EvalContext& context, int b, int rb, int seq_lens, int h0, int c0, int p,
           int scales, bool two_bytes) {
  const Tensor& x = context.in(0);
  const auto size = [](int64_t v) { return static_cast<size_t>(v); };
  Layer l{size(x.dim(0)),
          size(x.dim(1)),
          size(x.dim(2)),
          size(context.in(2).dim(1)),
          size(context.in(2).dim(2)),
          two_bytes};
  l.x = nn::reals(x), l.w = nn::reals(context.in(1)), l.r = nn::reals(context.in(2));
  if (context.has(scales)) {
    l.rounds = true;
    scale_weights(context.in(scales), l.columns, l.w);
    scale_weights(context.in(scales + 1), l.columns, l.r);
    for (size_t row = 0; row < l.steps * l.batch; ++row)
      round_factors(std::span(l.x).subspan(row * l.inputs, l.inputs), two_bytes);
  }
  l.b = optional_reals(context, b), l.rb = optional_reals(context, rb);
  l.h0 = optional_reals(context, h0), l.c0 = optional_reals(context, c0);
  l.p = optional_reals(context, p);
  l.lengths.assign(l.batch, x.dim(0));
  if (context.has(seq_lens) && context.in(seq_lens).dtype() == DType::boolean)
    l.mask = nn::reals(context.in(seq_lens));
  else if (context.has(seq_lens))
    for (size_t i = 0; i < l.batch; ++i)
      l.lengths[i] =
          std::clamp<int64_t>(context.in(seq_lens).int_at(static_cast<int64_t>(i)), 0, x.dim(0));
  return l;
}

// Runs cell(d, x, h, c), which replaces h and c, over all directions, sequences and valid steps.
template <typename Cell>
void run(EvalContext& context, const Layer& l, Direction direction, bool hold, const Cell& cell) {
  const size_t directions = direction == Direction::bidirectional ? 2 : 1, n = l.hidden;
  Vec y(l.steps * directions * l.batch * n), last_h(directions * l.batch * n), last_c(last_h);
  for (size_t d = 0; d < directions; ++d)
    for (size_t b = 0; b < l.batch; ++b) {
      const bool reverse = direction == Direction::reverse || d == 1;
      const auto length = static_cast<size_t>(l.lengths[b]), state = (d * l.batch + b) * n;
      Vec h(n), c(n);
      if (!l.h0.empty()) std::copy_n(l.h0.data() + state, n, h.data());
      if (!l.c0.empty()) std::copy_n(l.c0.data() + state, n, c.data());
      for (size_t s = 0; s < l.steps; ++s) {
        const size_t t = reverse ? l.steps - 1 - s : s;
        const bool valid = l.mask.empty() ? t < length : l.mask[t * l.batch + b] != 0;
        if (valid) cell(d, l.x.data() + (t * l.batch + b) * l.inputs, h, c);
        if (valid || hold)
          std::copy_n(h.data(), n, y.data() + ((t * directions + d) * l.batch + b) * n);
      }
      std::copy_n(h.data(), n, last_h.data() + state);
      std::copy_n(c.data(), n, last_c.data() + state);
    }
  nn::store_reals(context.out(0), y);
  nn::store_reals(context.out(1), last_h);
  if (context.outputs() > 2) nn::store_reals(context.out(2), last_c);
}

// What of a state is multiplied.
Vec factor(const Layer& l, Vec h) {
  if (l.rounds) round_factors(h, l.two_bytes);
  return h;
}

// b + x w for all gates.
Vec input_part(const Layer& l, size_t d, const double* x) {
  Vec z(l.columns);
  if (!l.b.empty()) std::copy_n(l.b.data() + d * l.columns, l.columns, z.data());
  add_product(x, l.w.data() + d * l.inputs * l.columns, l.inputs, l.columns, 0, l.columns,
              z.data());
  return z;
}

}  // namespace

Status Lstm::eval(EvalContext& context) const {
  const Layer l = load(context, 3, -1, 4, 5, 6, 7, 8, two_bytes);
  const Function gate = function(f, 0, alphas, betas, clip);
  const Function cell = function(g, 1, alphas, betas, clip);
  const Function output = function(h, 2, alphas, betas, clip);
  const size_t n = l.hidden;
  run(context, l, direction, hold, [&](size_t d, const double* x, Vec& state, Vec& c) {
    Vec z = input_part(l, d, x);
    add_product(factor(l, state).data(), l.r.data() + d * n * l.columns, n, l.columns, 0, l.columns,
                z.data());
    const double* p = l.p.empty() ? nullptr : l.p.data() + d * 3 * n;
    for (size_t i = 0; i < n; ++i) {
      const double zi = z[i] + (p ? p[i] * c[i] : 0);
      const double zf = z[n + i] + (p ? p[2 * n + i] * c[i] : 0);
      c[i] = gate(zf) * c[i] + gate(zi) * cell(z[2 * n + i]);
      const double zo = z[3 * n + i] + (p ? p[n + i] * c[i] : 0);
      state[i] = gate(zo) * output(c[i]);
    }
  });
  return {};
}

Status Gru::eval(EvalContext& context) const {
  const Layer l = load(context, 3, 4, 5, 6, -1, -1, 7, two_bytes);
  const Function gate = function(f, 0, alphas, betas, clip);
  const Function candidate = function(g, 1, alphas, betas, clip);
  const size_t n = l.hidden;
  run(context, l, direction, hold, [&](size_t d, const double* x, Vec& h, Vec&) {
    const double* r = l.r.data() + d * n * l.columns;
    Vec z = input_part(l, d, x), recurrent(l.columns);
    if (!l.rb.empty()) std::copy_n(l.rb.data() + d * l.columns, l.columns, recurrent.data());
    add_product(factor(l, h).data(), r, n, l.columns, 0, linear_before_reset ? 3 * n : 2 * n,
                recurrent.data());
    Vec reset(n), reset_h(n);
    for (size_t i = 0; i < n; ++i) {
      reset[i] = gate(z[n + i] + recurrent[n + i]);
      reset_h[i] = reset[i] * h[i];
    }
    if (!linear_before_reset)
      add_product(factor(l, reset_h).data(), r, n, l.columns, 2 * n, n, recurrent.data());
    for (size_t i = 0; i < n; ++i) {
      const double update = gate(z[i] + recurrent[i]);
      const double hidden_part = recurrent[2 * n + i] * (linear_before_reset ? reset[i] : 1);
      h[i] = (1 - update) * candidate(z[2 * n + i] + hidden_part) + update * h[i];
    }
  });
  return {};
}

Status Rnn::eval(EvalContext& context) const {
  const Layer l = load(context, 3, -1, 4, 5, -1, -1, 6, two_bytes);
  const Function f = function(activation, 0, alphas, betas, clip);
  const size_t n = l.hidden;
  run(context, l, direction, hold, [&](size_t d, const double* x, Vec& h, Vec&) {
    Vec z = input_part(l, d, x);
    add_product(factor(l, h).data(), l.r.data() + d * n * l.columns, n, l.columns, 0, n, z.data());
    for (size_t i = 0; i < n; ++i) h[i] = f(z[i]);
  });
  return {};
}

}  // namespace tenon
