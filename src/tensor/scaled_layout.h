// Weights of f32 that are each a product of a byte and the scale of its channel, as model files
// hold them: in a quarter of the room and to the last bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace tenon {

class Tensor;

// A tensor as [batch, rows, columns, inner] with a scale for each column of each batch. The name
// says all of it: "scaled/1x768x3072x1". Stored are the scales, f32 [batch, columns], filled up to
// 64 bytes, then the i8 in the tensor's order; value = float(byte) * scale.
struct ScaledLayout {
  int64_t batch = 1;
  int64_t rows = 1;
  int64_t columns = 1;
  int64_t inner = 1;

  // The layout of channels along `axis` of a tensor of these sizes; `batched`: each element of the
  // first dimension has scales of its own.
  static ScaledLayout along(const Tensor& t, int axis, bool batched = false);
  // One that is worth storing and holds an f32 tensor exactly, of all that along() gives: scales of
  // the last axis before those of others.
  static std::optional<ScaledLayout> of(const Tensor& t);

  std::string name() const;
  // None where it is no name of a layout, or one of a weight larger than tensors may be.
  static std::optional<ScaledLayout> parse(std::string_view name);

  int64_t elements() const { return batch * rows * columns * inner; }
  int64_t scales() const { return batch * columns; }
  // Of the i-th element.
  int64_t scale_of(int64_t i) const {
    return i / (rows * columns * inner) * columns + i / inner % columns;
  }
  size_t dense_bytes() const { return static_cast<size_t>(elements()) * sizeof(float); }
  size_t scale_bytes() const {
    return (static_cast<size_t>(scales()) * sizeof(float) + 63) / 64 * 64;
  }
  size_t packed_bytes() const { return scale_bytes() + static_cast<size_t>(elements()); }

  // Whether files hold weights of this form: what they gain is worth the scales.
  bool is_worth_storing() const;

  // False where a value is not exactly such a product; `packed` is not of use then.
  [[nodiscard]] bool pack(const float* dense, void* packed) const;
  void unpack(const void* packed, float* dense) const;
};

}  // namespace tenon
