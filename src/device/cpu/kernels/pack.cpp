// Packing of weights into panels.
#include "device/cpu/kernels/pack.h"

#include <algorithm>
#include <cstring>

#include "device/cpu/kernels/transpose8.h"

namespace tenon::cpu {
namespace {

constexpr int64_t panels_of(int64_t n) {
  return (n + kPanelColumns - 1) / kPanelColumns;
}

// One panel from b[k, n]: `columns` of each row, the rest zero.
void pack_panel(int64_t k, int64_t columns, const float* b, int64_t ldb, float alpha,
                float* panel) {
  if (columns == kPanelColumns) {
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < kPanelColumns; ++j)
        panel[i * kPanelColumns + j] = b[i * ldb + j] * alpha;
    return;
  }
  for (int64_t i = 0; i < k; ++i, panel += kPanelColumns) {
    for (int64_t j = 0; j < columns; ++j) panel[j] = b[i * ldb + j] * alpha;
    for (int64_t j = columns; j < kPanelColumns; ++j) panel[j] = 0;
  }
}

// One panel from b[n, k].
void pack_panel_transposed(int64_t k, int64_t columns, const float* b, int64_t ldb, float alpha,
                           float* panel) {
  int64_t column = 0;
  const int64_t k8 = k / 8 * 8;
  for (; column + 8 <= columns; column += 8) {
    const float* rows = b + column * ldb;
    for (int64_t i = 0; i < k8; i += 8)
      transpose8<true>(rows + i, ldb, panel + i * kPanelColumns + column, kPanelColumns, alpha);
    for (int64_t i = k8; i < k; ++i)
      for (int64_t j = 0; j < 8; ++j)
        panel[i * kPanelColumns + column + j] = rows[j * ldb + i] * alpha;
  }
  for (; column < columns; ++column)
    for (int64_t i = 0; i < k; ++i) panel[i * kPanelColumns + column] = b[column * ldb + i] * alpha;
  for (; column < kPanelColumns; ++column)
    for (int64_t i = 0; i < k; ++i) panel[i * kPanelColumns + column] = 0;
}

}  // namespace

int64_t packed_b_floats(int64_t k, int64_t n) {
  return panels_of(n) * k * kPanelColumns;
}

void pack_b_scaled(int64_t k, int64_t n, const float* b, int64_t ldb, bool transposed, float alpha,
                   float* packed) {
  for (int64_t j = 0; j < n; j += kPanelColumns, packed += k * kPanelColumns) {
    const int64_t columns = std::min(kPanelColumns, n - j);
    if (transposed)
      pack_panel_transposed(k, columns, b + j * ldb, ldb, alpha, packed);
    else
      pack_panel(k, columns, b + j, ldb, alpha, packed);
  }
}

void pack_b(int64_t k, int64_t n, const float* b, int64_t ldb, bool transposed, float* packed) {
  pack_b_scaled(k, n, b, ldb, transposed, 1.0f, packed);
}

void unpack_b(int64_t k, int64_t n, const float* packed, float* b, int64_t ldb) {
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j)
      b[i * ldb + j] = packed[(j / kPanelColumns * k + i) * kPanelColumns + j % kPanelColumns];
}

int64_t packed_conv_filter_floats(int64_t taps, int64_t group_in, int64_t out, int64_t groups) {
  return groups * packed_b_floats(taps * group_in, out / groups);
}

void pack_conv_filter(int64_t taps, int64_t group_in, int64_t out, int64_t groups,
                      const float* filter, float* packed) {
  const int64_t k = taps * group_in, group_out = out / groups;
  for (int64_t g = 0; g < groups; ++g)
    pack_b(k, group_out, filter + g * group_out, out, false,
           packed + g * packed_b_floats(k, group_out));
}

int64_t packed_depthwise_filter_floats(int64_t taps, int64_t out) {
  return taps * panels_of(out) * kPanelColumns;
}

void pack_depthwise_filter(int64_t taps, int64_t out, const float* filter, float* packed) {
  const int64_t padded = panels_of(out) * kPanelColumns;
  for (int64_t t = 0; t < taps; ++t) {
    std::copy_n(filter + t * out, out, packed + t * padded);
    std::fill_n(packed + t * padded + out, padded - out, 0.0f);
  }
}

}  // namespace tenon::cpu
