#include "simulate/move.h"

#include <cstring>

#include "simulate/elements.h"
#include "simulate/pairs.h"

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

void run_gather(const Operand& dst, const Operand& table, const Operand& indices) {
  // Row by row: the leading axes of dst are those of the indices.
  Operand row = table, to = dst;
  const int lead = indices.rank;
  to.rank = row.rank = table.rank - 1;
  for (int i = 0; i < row.rank; ++i) {
    const auto k = static_cast<size_t>(i);
    row.size[k] = table.size[k + 1];
    row.stride[k] = table.stride[k + 1];
    to.size[k] = dst.size[k + static_cast<size_t>(lead)];
    to.stride[k] = dst.stride[k + static_cast<size_t>(lead)];
  }
  std::array<int64_t, Operand::kMaxAxes> at{};
  if (indices.elements() <= 0) return;
  for (;;) {
    int64_t place = indices.offset;
    to.offset = dst.offset;
    for (int i = 0; i < lead; ++i) {
      const auto k = static_cast<size_t>(i);
      place += at[k] * indices.stride[k] * indices.element;
      to.offset += at[k] * dst.stride[k] * dst.element;
    }
    int64_t index = 0;
    load_ints(indices.data + place, indices.dtype, 1, 1, &index);
    if (index >= 0 && index < table.size[0]) {
      row.offset = table.offset + index * table.stride[0] * table.element;
      run_copy(to, row);
    } else {
      for_each_run(to, [&](int64_t offset, int64_t bytes) {
        std::memset(to.data + offset, 0, static_cast<size_t>(bytes));
      });
    }
    int axis = lead - 1;
    for (; axis >= 0; --axis) {
      const auto k = static_cast<size_t>(axis);
      if (++at[k] < indices.size[k]) break;
      at[k] = 0;
    }
    if (axis < 0) return;
  }
}

void run_img2col(const Operand& dst, const Operand& source, std::span<const int64_t> numbers) {
  for_each_window_run(dst, source, numbers, [&](const WindowRun& run) {
    if (run.source >= 0)
      copy_bytes(dst.data + run.dst, source.data + run.source, run.bytes);
    else
      std::memset(dst.data + run.dst, 0, static_cast<size_t>(run.bytes));
  });
}

}  // namespace tenon::simulate
