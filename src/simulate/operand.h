// A view with its numbers filled in: what one execution of an instruction reads or writes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "tensor/dtype.h"

namespace tenon::simulate {

struct Operand {
  static constexpr int kMaxAxes = 16;  // as the verifier bounds them

  int memory = 0;
  int buffer = -1;
  DType dtype = DType::f16;
  int64_t element = 2;        // bytes
  std::byte* data = nullptr;  // where the memory or buffer begins
  int64_t offset = 0;         // in bytes
  int rank = 0;
  std::array<int64_t, kMaxAxes> size{}, stride{};  // in elements

  std::byte* first() const { return data + offset; }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= size[static_cast<size_t>(i)];
    return n;
  }
  // The first byte behind it in its memory; 0 where there are no elements.
  int64_t end() const {
    int64_t at = offset + element;
    for (int i = 0; i < rank; ++i) {
      const auto k = static_cast<size_t>(i);
      if (size[k] <= 0) return 0;
      if (stride[k] > 0) at += (size[k] - 1) * stride[k] * element;
    }
    return at;
  }
  // The part of one axis from `from` on that has `count` elements.
  Operand part(int axis, int64_t from, int64_t count) const {
    Operand o = *this;
    o.offset += from * stride[static_cast<size_t>(axis)] * element;
    o.size[static_cast<size_t>(axis)] = count;
    return o;
  }
};

// The bytes of an operand as few contiguous runs, each once, in some order: offset and length.
template <typename F>
void for_each_run(const Operand& o, const F& f) {
  std::array<int64_t, Operand::kMaxAxes> size, stride, index{};
  int rank = 0;
  int64_t offset = o.offset;
  for (int i = 0; i < o.rank; ++i) {
    const auto k = static_cast<size_t>(i);
    if (o.size[k] <= 0) return;
    if (o.size[k] == 1 || o.stride[k] == 0) continue;
    int64_t step = o.stride[k];
    if (step < 0) {
      offset += (o.size[k] - 1) * step * o.element;
      step = -step;
    }
    auto at = static_cast<size_t>(rank++);
    for (; at > 0 && stride[at - 1] < step; --at) {
      stride[at] = stride[at - 1];
      size[at] = size[at - 1];
    }
    stride[at] = step;
    size[at] = o.size[k];
  }
  int64_t run = 1;
  while (rank > 0 && stride[static_cast<size_t>(rank - 1)] == run)
    run *= size[static_cast<size_t>(--rank)];
  run *= o.element;
  for (;;) {
    f(offset, run);
    int axis = rank - 1;
    for (; axis >= 0; --axis) {
      const auto k = static_cast<size_t>(axis);
      offset += stride[k] * o.element;
      if (++index[k] < size[k]) break;
      offset -= stride[k] * o.element * size[k];
      index[k] = 0;
    }
    if (axis < 0) return;
  }
}

}  // namespace tenon::simulate
