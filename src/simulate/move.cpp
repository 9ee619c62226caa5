#include "simulate/move.h"

#include <cstring>

#include "simulate/elements.h"
#include "simulate/pairs.h"
#include "simulate/vector.h"

namespace tenon::simulate {
namespace {

// Most runs are single elements or blocks of 32 bytes.
void copy_bytes(std::byte* to, const std::byte* from, int64_t bytes) {
  switch (bytes) {
    case 1:
      *to = *from;
      return;
    case 2:
      std::memcpy(to, from, 2);
      return;
    case 4:
      std::memcpy(to, from, 4);
      return;
    case 32:
      std::memcpy(to, from, 32);
      return;
    default:
      std::memmove(to, from, static_cast<size_t>(bytes));
  }
}

}  // namespace

void run_copy(const Operand& dst, const Operand& source) {
  for_each_pair(dst, source, [&](int64_t to, int64_t from, int64_t bytes) {
    copy_bytes(dst.data + to, source.data + from, bytes);
  });
}

void for_each_row(const Operand& tile, const Operand& table, const Operand& indices, int64_t first,
                  const std::function<void(const Operand& of_tile, const Operand* row)>& f) {
  // The leading axes of the tile are those of the indices.
  Operand row = table, part = tile;
  const int lead = indices.rank;
  part.rank = row.rank = table.rank - 1;
  for (int i = 0; i < row.rank; ++i) {
    const auto k = static_cast<size_t>(i);
    row.size[k] = table.size[k + 1];
    row.stride[k] = table.stride[k + 1];
    part.size[k] = tile.size[k + static_cast<size_t>(lead)];
    part.stride[k] = tile.stride[k + static_cast<size_t>(lead)];
  }
  std::array<int64_t, Operand::kMaxAxes> at{};
  if (indices.elements() <= 0) return;
  for (;;) {
    int64_t place = indices.offset;
    part.offset = tile.offset;
    for (int i = 0; i < lead; ++i) {
      const auto k = static_cast<size_t>(i);
      place += at[k] * indices.stride[k] * indices.element;
      part.offset += at[k] * tile.stride[k] * tile.element;
    }
    int64_t index = 0;
    load_ints(indices.data + place, indices.dtype, 1, 1, &index);
    const bool is_there = index >= first && index - first < table.size[0];
    if (is_there) row.offset = table.offset + (index - first) * table.stride[0] * table.element;
    f(part, is_there ? &row : nullptr);
    int axis = lead - 1;
    for (; axis >= 0; --axis) {
      const auto k = static_cast<size_t>(axis);
      if (++at[k] < indices.size[k]) break;
      at[k] = 0;
    }
    if (axis < 0) return;
  }
}

void run_gather(const Operand& dst, const Operand& table, const Operand& indices) {
  for_each_row(dst, table, indices, 0, [](const Operand& to, const Operand* row) {
    if (row != nullptr) return run_copy(to, *row);
    for_each_run(to, [&](int64_t offset, int64_t bytes) {
      std::memset(to.data + offset, 0, static_cast<size_t>(bytes));
    });
  });
}

void run_scatter(const Operand& table, const Operand& source, const Operand& indices, int64_t first,
                 bool accumulate) {
  for_each_row(source, table, indices, first, [&](const Operand& from, const Operand* row) {
    if (row == nullptr) return;
    if (!accumulate) return run_copy(*row, from);
    const std::array<Operand, 3> sum{*row, *row, from};
    run_elementwise(isa::Opcode::add, sum, 0, 0);
  });
}

void run_img2col(const Operand& dst, const Operand& source, std::span<const int64_t> numbers,
                 double outside) {
  // A block of it, which no run is longer than.
  std::array<std::byte, 256> block{};
  const int64_t fits = std::ssize(block) / dst.element;
  const std::vector<float> values(static_cast<size_t>(fits), static_cast<float>(outside));
  store_floats(values.data(), fits, isa::Rounding::even, dst.dtype, 1, block.data());
  for_each_window_run(dst, source, numbers, [&](const WindowRun& run) {
    if (run.source >= 0) return copy_bytes(dst.data + run.dst, source.data + run.source, run.bytes);
    for (int64_t at = 0; at < run.bytes; at += std::ssize(block))
      std::memcpy(dst.data + run.dst + at, block.data(),
                  static_cast<size_t>(std::min<int64_t>(run.bytes - at, std::ssize(block))));
  });
}

}  // namespace tenon::simulate
