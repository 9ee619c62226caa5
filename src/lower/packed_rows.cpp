// Convolutions of few channels on the cube. Blocks of 16 channels would be padding for the most
// part; but a row of a window lies side by side in memory, pixels and channels: taken as the
// channels of a kernel one column wide, its blocks are full.
#include <fmt/format.h>

#include <numeric>

#include "base/numbers.h"
#include "lower/product.h"
#include "lower/vector_core.h"

namespace tenon::lower {
namespace {

// Rows of images as the windows read them, with zeros beside them, all in whole blocks.
struct PaddedRows {
  int64_t left = 0, width = 0;  // pixels

  PaddedRows(const Windows& w, int64_t pixel_bytes) {
    constexpr int64_t kBlock = 32;
    const int64_t unit = kBlock / std::gcd(pixel_bytes, kBlock);
    left = round_up(w.pad[2], unit);
    const int64_t reach = (w.out_width - 1) * w.stride[2] + w.kernel[2] - w.pad[2];
    // Rows are whole blocks, and whole steps of the windows.
    width = round_up(left + std::max(w.width, reach), std::lcm(unit, w.stride[2]));
  }
};

// Copies the images' rows into padded ones.
Status pad_rows(Lowering& lowering, const Node& node, const Product& p, const PaddedRows& rows,
                int to) {
  const Windows& w = *p.windows;
  const VectorCore core(lowering.architecture());
  const DType real = lowering.real();
  const int64_t size = bytes_of(real), row = rows.width * w.channels,
                all = p.batch[0].size * w.height;
  KernelBuilder builder(lowering, p.layer, "packed_rows");
  const int64_t fits = (builder.free_bytes(core.memory) - 8192) / (2 * row * size);
  if (fits == 0) return unsupported(fmt::format("a row of {} pixels does not fit", rows.width));
  const int64_t cores = lowering.architecture().vector_cores,
                each = std::min(fits, (all + cores - 1) / cores), tiles = (all + each - 1) / each;
  const int x =
      builder.bind("x", isa::Buffer::Role::input, p.a, real, lowering.tensor(p.a).elements);
  const int y =
      builder.bind("y", isa::Buffer::Role::output, to, real, lowering.tensor(to).elements);
  const Ring ring = builder.ring(core.memory, each * row * size, 2, {core.load, core.store});
  builder.set_blocks(std::min(cores, tiles));
  // Nothing is ever written beside the rows.
  for (int64_t i = 0; i < 2; ++i)
    builder.emit(Opcode::fill,
                 {builder.local(core.memory, ring.place(i), real, {{each * row, 1}})});
  builder.sync(core.compute);
  builder.loop(turns(builder, tiles), [&](const Expr& turn) {
    const Expr first = (builder.block() + turn * builder.blocks()) * each;
    const Expr count = min(each, Expr(all) - first);
    const Expr place = ring.place(turn);
    ring.enter(0, turn);
    builder.emit(Opcode::copy,
                 {builder.local(core.memory, place + rows.left * w.channels * size, real,
                                {{count, row}, {w.width * w.channels, 1}}),
                  builder.global(x, first * (w.width * w.channels),
                                 {{count, w.width * w.channels}, {w.width * w.channels, 1}})});
    ring.leave(0, turn);
    ring.enter(1, turn);
    builder.emit(Opcode::copy, {builder.global(y, first * row, {{count * row, 1}}),
                                builder.local(core.memory, place, real, {{count * row, 1}})});
    ring.leave(1, turn);
  });
  return lowering.add(node, builder, fmt::format("{} rows of {} pixels at once", each, rows.width));
}

}  // namespace

Status lower_packed_rows(Lowering& lowering, const Node& node, const Product& p) {
  const Windows& w = *p.windows;
  const int64_t size = bytes_of(lowering.real()), c0 = 32 / size;
  if (p.outside != 0) return unsupported("packed rows end in zeros");
  if (p.b_constant == nullptr || p.batch.size() != 1 || w.kernel[0] > 1 || w.depth > 1 ||
      w.out_depth > 1)
    return unsupported("it is no convolution of plain images");
  if (w.channels >= c0)
    return unsupported(
        fmt::format("its {} channels fill blocks of {} by themselves", w.channels, c0));
  if (p.is_exact()) return unsupported("it is of bytes");
  if (w.kernel[2] == 1) return unsupported("its kernel is one column wide");
  if (w.dilation[2] != 1) return unsupported("its kernel is dilated");
  if (w.pitch != 0 || p.first.a != 0) return unsupported("its images are parts of larger ones");
  const PaddedRows rows(w, w.channels * size);
  const int64_t line = rows.width * w.channels, image = w.height * line;
  Product q = p;
  q.algorithm = "packed_rows";
  q.a = lowering.scratch(p.layer + ".rows", lowering.real(), p.batch[0].size * image);
  q.first.a = (rows.left - w.pad[2]) * w.channels;
  q.a_row = w.stride[2] * w.channels;
  q.batch[0].a = image;
  Windows& to = *q.windows;
  to.width = w.out_width;
  to.pitch = rows.width / w.stride[2];
  to.channels = w.kernel[2] * w.channels;
  to.kernel[2] = to.stride[2] = 1;
  to.pad[2] = 0;
  TRY(pad_rows(lowering, node, p, rows, q.a));
  return lower_plain(lowering, node, q);
}

}  // namespace tenon::lower
