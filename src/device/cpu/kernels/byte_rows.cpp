#include "device/cpu/kernels/byte_rows.h"

#include <algorithm>

#include "base/numbers.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {

int64_t ByteRows::row_bytes() const {
  return round_up(k, 4);
}
int64_t ByteRows::bytes() const {
  return round_to_lines(rows * static_cast<int64_t>(sizeof(ByteRange))) +
         round_to_lines(rows * row_bytes());
}
ByteRange* ByteRows::ranges(char* at) const {
  return reinterpret_cast<ByteRange*>(at);
}
uint8_t* ByteRows::row(char* at, int64_t i) const {
  const int64_t first = round_to_lines(rows * static_cast<int64_t>(sizeof(ByteRange)));
  return reinterpret_cast<uint8_t*>(at + first + i * row_bytes());
}

void ByteRows::fill(char* at, int64_t first, int64_t last, const float* x,
                    const KernelTable& table) const {
  for (int64_t i = first; i < last; ++i) {
    ranges(at)[i] = table.quantize_row(x + i * k, row(at, i), k);
    std::fill(row(at, i) + k, row(at, i) + row_bytes(), uint8_t{0});
  }
}

void multiply_bytes(const BytesProduct& p, const ByteTables& tables) {
  const int64_t k = p.rows.row_bytes();
  const auto* const panels = static_cast<const int8_t*>(p.weights.panels);
  const auto* const column_sums =
      reinterpret_cast<const int32_t*>(panels + round_up(p.weights.n, kPanelColumns) * k);
  Int8Block block;
  block.m = p.last - p.first;
  block.n = p.n;
  block.groups = k / 4;
  block.a = p.rows.row(p.at, p.first);
  block.lda = k;
  block.b = panels + p.column * k;
  block.epilogue.column_add = tables.zeros;
  block.y = reinterpret_cast<char*>(p.out + p.first * p.ld);
  block.y_row_bytes = p.ld * static_cast<int64_t>(sizeof(float));
  tables.bytes.gemm_block(block);
  for (int64_t i = p.first; i < p.last; ++i) {
    float* const y = p.out + i * p.ld;
    tables.floats.scale_sums({p.n, p.rows.ranges(p.at)[i], reinterpret_cast<const int32_t*>(y),
                              column_sums + p.column, p.weights.scales + p.column,
                              p.add == nullptr ? nullptr : p.add + i * p.add_ld, y});
  }
}

}  // namespace tenon::cpu
