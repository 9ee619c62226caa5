#include "lower/winograd.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::lower {
namespace {

constexpr int kOut = Transform::kOut, kTmp = Transform::kTemporary;

constexpr TransformStep kInput2[] = {
    {Opcode::sub, kOut + 0, 0, 2, 0},
    {Opcode::add, kOut + 1, 1, 2, 0},
    {Opcode::sub, kOut + 2, 2, 1, 0},
    {Opcode::sub, kOut + 3, 1, 3, 0},
};
constexpr TransformStep kOutput2[] = {
    {Opcode::add, kTmp, 1, 2, 0},
    {Opcode::add, kOut + 0, 0, kTmp, 0},
    {Opcode::sub, kTmp, 1, 2, 0},
    {Opcode::sub, kOut + 1, kTmp, 3, 0},
};
// Rows ±1 and ±2 have sums in common, and the outer two what these are made of.
constexpr TransformStep kInput4[] = {
    {Opcode::muls, kTmp, 2, 0, 4},
    {Opcode::sub, kTmp, 4, kTmp, 0},
    {Opcode::muls, kTmp + 1, 1, 0, 4},
    {Opcode::sub, kTmp + 1, 3, kTmp + 1, 0},
    {Opcode::add, kOut + 1, kTmp, kTmp + 1, 0},
    {Opcode::sub, kOut + 2, kTmp, kTmp + 1, 0},
    {Opcode::sub, kTmp, 4, 2, 0},
    {Opcode::sub, kTmp + 1, 3, 1, 0},
    {Opcode::muls, kTmp + 2, kTmp + 1, 0, 2},
    {Opcode::add, kOut + 3, kTmp, kTmp + 2, 0},
    {Opcode::sub, kOut + 4, kTmp, kTmp + 2, 0},
    {Opcode::sub, kTmp + 2, 0, 2, 0},
    {Opcode::muls, kTmp + 2, kTmp + 2, 0, 4},
    {Opcode::add, kOut + 0, kTmp + 2, kTmp, 0},
    {Opcode::muls, kTmp + 1, kTmp + 1, 0, 4},
    {Opcode::sub, kTmp, 5, 3, 0},
    {Opcode::sub, kOut + 5, kTmp, kTmp + 1, 0},
};
constexpr TransformStep kOutput4[] = {
    {Opcode::add, kTmp, 1, 2, 0},
    {Opcode::add, kTmp + 1, 3, 4, 0},
    {Opcode::add, kTmp + 2, 0, kTmp, 0},
    {Opcode::add, kOut + 0, kTmp + 2, kTmp + 1, 0},
    {Opcode::muls, kTmp + 1, kTmp + 1, 0, 4},
    {Opcode::add, kOut + 2, kTmp, kTmp + 1, 0},
    {Opcode::sub, kTmp, 1, 2, 0},
    {Opcode::sub, kTmp + 1, 3, 4, 0},
    {Opcode::muls, kTmp + 2, kTmp + 1, 0, 2},
    {Opcode::add, kOut + 1, kTmp, kTmp + 2, 0},
    {Opcode::muls, kTmp + 2, kTmp + 1, 0, 8},
    {Opcode::add, kTmp + 2, kTmp, kTmp + 2, 0},
    {Opcode::add, kOut + 3, kTmp + 2, 5, 0},
};

// What a filter's vector becomes.
constexpr double kFilter2[][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
constexpr double kFilter4[][3] = {{1. / 4, 0, 0},
                                  {-1. / 6, -1. / 6, -1. / 6},
                                  {-1. / 6, 1. / 6, -1. / 6},
                                  {1. / 24, 1. / 12, 1. / 6},
                                  {1. / 24, -1. / 12, 1. / 6},
                                  {0, 0, 1}};

// The sums of the magnitudes that the input's transform adds up, over both axes.
double growth(int64_t m) {
  return m == 2 ? 4 : 100;
}

using Views = std::function<View(int64_t)>;

void emit(ProgramBuilder& builder, const Transform& t, const Views& in, const Views& out,
          const Views& temporary) {
  const auto view = [&](int r) {
    return r < kOut ? in(r) : r < kTmp ? out(r - kOut) : temporary(r - kTmp);
  };
  for (const TransformStep& s : t.steps) {
    if (s.op == Opcode::muls)
      builder.emit(s.op, {view(s.to), view(s.a)}, {}, s.number);
    else
      builder.emit(s.op, {view(s.to), view(s.a), view(s.b)});
  }
}

}  // namespace

Transform input_transform(int64_t m) {
  return m == 2 ? Transform{kInput2, 0} : Transform{kInput4, 3};
}

Transform output_transform(int64_t m) {
  return m == 2 ? Transform{kOutput2, 1} : Transform{kOutput4, 3};
}

Status check_winograd(const Product& p, int64_t m, DType real) {
  if (p.groups > 1) return unsupported(fmt::format("it has {} groups", p.groups));
  if (!p.windows || p.b_constant == nullptr || p.batch.size() != 1)
    return unsupported("it is no convolution of plain images");
  if (p.is_exact()) return unsupported("sums of transformed inputs do not fit in bytes");
  const Windows& w = *p.windows;
  const std::array<int64_t, 3> kernel{1, 3, 3}, ones{1, 1, 1};
  if (w.kernel != kernel)
    return unsupported(fmt::format("its kernel is {}x{}{}, not 3x3", w.kernel[1], w.kernel[2],
                                   w.kernel[0] > 1 ? fmt::format("x{}", w.kernel[0]) : ""));
  if (w.stride != ones)
    return unsupported(fmt::format("its stride is {}x{}, not 1", w.stride[1], w.stride[2]));
  if (w.dilation != ones) return unsupported("its kernel is dilated");
  if (w.depth > 1 || w.out_depth > 1) return unsupported("it has three dimensions");
  if (real != DType::f16 && real != DType::f32)
    return unsupported(
        fmt::format("sums of transformed inputs do not fit in {}", dtype_name(real)));
  for (const auto& [name, size] : {std::pair{"width", w.out_width}, {"height", w.out_height}})
    if (size % m != 0)
      return unsupported(
          fmt::format("the {} of its result, {}, is not a multiple of {}", name, size, m));
  if (real == DType::f16 && growth(m) > 16)
    return unsupported(
        fmt::format("transformed inputs are up to {} times as large: from {} on they overflow "
                    "f16, and rounding errors grow with them",
                    growth(m), static_cast<int64_t>(65504 / growth(m))));
  return {};
}

Result<Tensor> winograd_filter(const Tensor& w, int64_t m) {
  const int64_t reach = winograd_reach(m), channels = w.dims()[2], columns = w.dims()[3],
                plane = channels * columns;
  const auto* matrix = m == 2 ? kFilter2 : kFilter4;
  Tensor out =
      TRY(Tensor::zeros(DType::f32, std::vector<int64_t>{reach * reach, channels, columns}));
  auto* data = out.mutable_data<float>();
  for (int64_t c = 0; c < plane; ++c) {
    std::array<double, 9> g{};
    for (int64_t i = 0; i < 9; ++i) g[static_cast<size_t>(i)] = w.real_at(i * plane + c);
    for (int64_t i = 0; i < reach; ++i) {
      std::array<double, 3> row{};
      for (size_t k = 0; k < 9; ++k) row[k % 3] += matrix[i][k / 3] * g[k];
      for (int64_t j = 0; j < reach; ++j)
        data[(i * reach + j) * plane + c] = static_cast<float>(
            matrix[j][0] * row[0] + matrix[j][1] * row[1] + matrix[j][2] * row[2]);
    }
  }
  return out;
}

int64_t WinogradTiles::work_elements(bool input) const {
  return input ? reach() * blocks * rows * in_width() * size
               : m * reach() * blocks * tiles() * size;
}

int64_t WinogradTiles::temporary_elements(bool input) const {
  const int64_t second = reach() * blocks * tiles() * size;
  return input ? std::max(second, blocks * rows * in_width() * size) : second;
}

void emit_input_transform(ProgramBuilder& builder, const WinogradTiles& t,
                          const TransformPlaces& places, const Positions& to) {
  const auto bytes = static_cast<int64_t>(dtype_size(t.real));
  const int64_t width = t.in_width() * t.size, reach = t.reach();
  const int64_t temporary = t.temporary_elements(true);
  const auto view = [&](const Expr& place, int64_t first, std::vector<Axis> axes) {
    return builder.local(t.memory, place + first * bytes, t.real, std::move(axes));
  };
  // Rows of every column, then columns of all rows.
  const auto rows = [&](const Expr& place, int64_t first, int64_t block, int64_t row) {
    return view(place, first,
                {{t.n_blocks, block}, {t.n_rows, row}, {t.in_width(), t.size}, {t.count, 1}});
  };
  const int64_t block = t.rows * width;
  emit(
      builder, input_transform(t.m),
      [&](int64_t k) { return rows(places.pixels, k * width, t.in_rows() * width, t.m * width); },
      [&](int64_t i) { return rows(places.work, i * t.blocks * block, block, width); },
      [&](int64_t n) { return rows(places.temporaries, n * temporary, block, width); });
  const auto columns = [&](const Expr& place, int64_t first, int64_t i, int64_t b, int64_t row,
                           int64_t tile) {
    return view(place, first,
                {{reach, i}, {t.n_blocks, b}, {t.n_rows, row}, {t.columns, tile}, {t.count, 1}});
  };
  const int64_t row = t.columns * t.size;
  emit(
      builder, input_transform(t.m),
      [&](int64_t k) {
        return columns(places.work, k * t.size, t.blocks * block, block, width, t.m * t.size);
      },
      [&](int64_t j) {
        return columns(to.place, j * to.position, reach * to.position, to.block,
                       t.columns * to.pixel, to.pixel);
      },
      [&](int64_t n) {
        return columns(places.temporaries, n * temporary, t.blocks * t.rows * row, t.rows * row,
                       row, t.size);
      });
}

void emit_output_transform(ProgramBuilder& builder, const WinogradTiles& t,
                           const TransformPlaces& places, const Positions& from) {
  const auto bytes = static_cast<int64_t>(dtype_size(t.real));
  const int64_t reach = t.reach(), temporary = t.temporary_elements(false);
  const auto view = [&](const Expr& place, int64_t first, const Expr& outer, int64_t i, int64_t b,
                        int64_t row, int64_t tile) {
    return builder.local(
        t.memory, place + first * bytes, t.real,
        {{outer, i}, {t.n_blocks, b}, {t.n_rows, row}, {t.columns, tile}, {t.count, 1}});
  };
  const int64_t row = t.columns * t.size, block = t.rows * row, all = t.blocks * block;
  emit(
      builder, output_transform(t.m),
      [&](int64_t i) {
        return view(from.place, i * reach * from.position, reach, from.position, from.block,
                    t.columns * from.pixel, from.pixel);
      },
      [&](int64_t r) { return view(places.work, r * reach * all, reach, all, block, row, t.size); },
      [&](int64_t n) {
        return view(places.temporaries, n * temporary, reach, all, block, row, t.size);
      });
  const int64_t width = t.columns * t.m * t.size;
  emit(
      builder, output_transform(t.m),
      [&](int64_t j) { return view(places.work, j * all, t.m, reach * all, block, row, t.size); },
      [&](int64_t q) {
        return view(places.pixels, q * t.size, t.m, width, t.rows * t.m * width, t.m * width,
                    t.m * t.size);
      },
      [&](int64_t n) {
        return view(places.temporaries, n * temporary, t.m, all, block, row, t.size);
      });
}

}  // namespace tenon::lower
