#include "device/cpu/kernels/byte_rows.h"

#include <algorithm>

#include "base/numbers.h"
#include "device/cpu/kernels/pack.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Of rows that lie `beyond` those of the product.
void multiply(const BytesProduct& p, int64_t beyond, const float* add, int64_t add_ld, float* out,
              const ByteTables& tables) {
  const int64_t k = p.rows.row_bytes();
  const auto* const panels = static_cast<const int8_t*>(p.weights.panels);
  const auto* const column_sums =
      reinterpret_cast<const int32_t*>(panels + round_up(p.weights.n, kPanelColumns) * k);
  Int8Block block;
  block.m = p.last - p.first;
  block.n = p.n;
  block.groups = k / 4;
  block.a = p.rows.row(p.at, beyond + p.first);
  block.lda = k;
  block.b = panels + p.column * k;
  block.epilogue.column_add = tables.zeros;
  block.y = reinterpret_cast<char*>(out + p.first * p.ld);
  block.y_row_bytes = p.ld * static_cast<int64_t>(sizeof(float));
  tables.bytes.gemm_block(block);
  for (int64_t i = p.first; i < p.last; ++i) {
    float* const y = out + i * p.ld;
    tables.floats.scale_sums({p.n, p.rows.ranges(p.at)[beyond + i],
                              reinterpret_cast<const int32_t*>(y), column_sums + p.column,
                              p.weights.scales + p.column,
                              add == nullptr ? nullptr : add + i * add_ld, y});
  }
}

}  // namespace

int64_t ByteRows::row_bytes() const {
  return round_up(k, 4);
}
int64_t ByteRows::bytes() const {
  return round_to_lines(count() * static_cast<int64_t>(sizeof(ByteRange))) +
         round_to_lines(count() * row_bytes()) +
         (rests ? round_to_lines(rows * k * static_cast<int64_t>(sizeof(float))) : 0);
}
ByteRange* ByteRows::ranges(char* at) const {
  return reinterpret_cast<ByteRange*>(at);
}
uint8_t* ByteRows::row(char* at, int64_t i) const {
  const int64_t first = round_to_lines(count() * static_cast<int64_t>(sizeof(ByteRange)));
  return reinterpret_cast<uint8_t*>(at + first + i * row_bytes());
}

void ByteRows::fill(char* at, int64_t first, int64_t last, const float* x,
                    const KernelTable& table) const {
  const auto round = [&](const float* from, int64_t i) {
    ranges(at)[i] = table.quantize_row(from, row(at, i), k);
    std::fill(row(at, i) + k, row(at, i) + row_bytes(), uint8_t{0});
  };
  for (int64_t i = first; i < last; ++i) {
    const float* const from = x + i * k;
    round(from, i);
    if (!rests) continue;
    const ByteRange range = ranges(at)[i];
    const uint8_t* const bytes = row(at, i);
    float* const rest = reinterpret_cast<float*>(at + this->bytes()) - (rows - i) * k;
    for (int64_t j = 0; j < k; ++j)
      rest[j] = from[j] - static_cast<float>(bytes[j] - range.zero) * range.scale;
    round(rest, rows + i);
  }
}

void multiply_bytes(const BytesProduct& p, const ByteTables& tables) {
  if (!p.rows.rests) return multiply(p, 0, p.add, p.add_ld, p.out, tables);
  multiply(p, p.rows.rows, p.add, p.add_ld, p.of_rests, tables);
  multiply(p, 0, p.of_rests, p.ld, p.out, tables);
}

}  // namespace tenon::cpu
