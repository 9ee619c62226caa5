// Dimensions (known, named or unknown), shapes, and tensor types.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/dtype.h"

namespace tenon {

// One dimension: a size, a named symbol (`?batch`: the same size wherever the name occurs), or
// unknown (`?`).
class Dim {
 public:
  constexpr Dim() = default;
  constexpr Dim(int64_t size) : code_(size < 0 ? kUnknown : size) {}

  static constexpr Dim unknown() { return Dim(kUnknown); }
  // The dimension of this name; the same name gives an equal Dim. Thread-safe.
  static Dim symbol(std::string_view name);

  constexpr bool known() const { return code_ >= 0; }
  constexpr bool is_symbol() const { return code_ < kUnknown; }
  // The size; only for known dimensions.
  constexpr int64_t size() const { return code_; }
  constexpr int64_t size_or(int64_t fallback) const { return known() ? code_ : fallback; }
  // The symbol's name; empty for others.
  std::string_view name() const;

  // Provably the same size: equal sizes or the same symbol. Two unknowns are not.
  constexpr bool same(Dim other) const { return code_ == other.code_ && code_ != kUnknown; }
  // Structural equality, for comparing types as written.
  constexpr bool operator==(const Dim&) const = default;
  std::string to_string() const;

 private:
  static constexpr int64_t kUnknown = -1;
  int64_t code_ = 0;  // >= 0 size; -1 unknown; -2-i the i-th interned symbol
};

// Arithmetic that keeps what is known: symbols survive the neutral element.
Dim operator*(Dim a, Dim b);
Dim operator+(Dim a, Dim b);

// The dimensions of a tensor; the rank may be unknown too.
class Shape {
 public:
  Shape() = default;  // a scalar
  Shape(std::initializer_list<Dim> dims) : dims_(dims) {}
  explicit Shape(std::vector<Dim> dims) : dims_(std::move(dims)) {}
  static Shape of(std::span<const int64_t> sizes);
  static Shape unranked() {
    Shape s;
    s.ranked_ = false;
    return s;
  }
  static Shape unknown_dims(int rank) { return Shape(std::vector<Dim>(rank, Dim::unknown())); }

  bool ranked() const { return ranked_; }
  int rank() const { return static_cast<int>(dims_.size()); }
  Dim operator[](int axis) const { return dims_[axis]; }
  Dim& operator[](int axis) { return dims_[axis]; }
  const std::vector<Dim>& dims() const { return dims_; }
  std::vector<Dim>& dims() { return dims_; }

  // Ranked and every dimension known.
  bool is_static() const;
  // The sizes of a static shape.
  std::vector<int64_t> sizes() const;
  // Number of elements where every dimension is known and the product does not overflow.
  std::optional<int64_t> elements() const;

  bool operator==(const Shape&) const = default;
  // "[?n,3,224,224]", "[]" or "[*]".
  std::string to_string() const;

 private:
  bool ranked_ = true;
  std::vector<Dim> dims_;
};

// Element type and shape of a value; `is_list` marks a list (TensorList, ONNX sequence, optional)
// whose elements have this type.
struct TensorType {
  DType dtype = DType::none;
  Shape shape;
  bool is_list = false;

  bool operator==(const TensorType&) const = default;
  bool is_none() const { return dtype == DType::none; }
  // "f32[?n,3]", "list<f32[3]>", "none".
  std::string to_string() const;
  // Bytes of a value of this type where the shape is static.
  std::optional<int64_t> byte_size() const;
};

using TensorTypes = std::vector<TensorType>;

// Parses what to_string prints.
Result<TensorType> parse_tensor_type(std::string_view text);

// Whether a value of type `actual` may stand where `declared` is written: same dtype and
// list-ness, no contradiction in shape.
bool is_compatible(const TensorType& declared, const TensorType& actual);

// NumPy broadcasting. Unknown against a known n > 1 gives n; against 1 or unknown gives unknown.
// Error: invalid_argument naming both shapes.
Result<Shape> broadcast_shapes(const Shape& a, const Shape& b);

// The most precise shape that both agree with (where a declared and an inferred type meet); nullopt
// on contradiction.
std::optional<Shape> merge_shapes(const Shape& a, const Shape& b);
// The most precise shape that covers both (where two branches meet).
Shape join_shapes(const Shape& a, const Shape& b);

// axis in [-rank, rank) to [0, rank). Error: invalid_argument.
Result<int> normalize_axis(int64_t axis, int rank);

}  // namespace tenon
