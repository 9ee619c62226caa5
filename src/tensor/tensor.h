// Tensor: a concrete value (dtype, sizes, data), or a list of them. Shares its storage on copy.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/result.h"
#include "tensor/shape.h"

namespace tenon {

// No single tensor may be larger: what asks for more is a damaged model.
constexpr int64_t kMaxTensorBytes = int64_t{1} << 36;

class Tensor {
 public:
  Tensor() = default;  // absent: dtype none

  // A new tensor; numbers are uninitialised, strings empty. Errors: a size beyond the limit, no
  // memory.
  static Result<Tensor> allocate(DType dtype, std::span<const int64_t> dims);
  // A zeroed tensor.
  static Result<Tensor> zeros(DType dtype, std::span<const int64_t> dims);
  // A view of memory that `owner` keeps alive (null: the caller does). `data` must be aligned to
  // the element.
  static Tensor view(DType dtype, std::span<const int64_t> dims, const void* data,
                     std::shared_ptr<const void> owner = nullptr);
  static Tensor list(DType element, std::vector<Tensor> elements);

  template <typename T>
  static Tensor scalar(T value) {
    Tensor t = allocate(dtype_of<T>, {}).value();
    t.mutable_data<T>()[0] = value;
    return t;
  }
  template <typename T>
  static Tensor vector(const std::vector<T>& values) {
    const auto n = static_cast<int64_t>(values.size());
    Tensor t = allocate(dtype_of<T>, std::span(&n, 1)).value();
    for (size_t i = 0; i < values.size(); ++i) t.mutable_data<T>()[i] = values[i];
    return t;
  }

  bool defined() const { return dtype_ != DType::none; }
  DType dtype() const { return dtype_; }
  bool is_list() const { return list_ != nullptr; }
  const std::vector<int64_t>& dims() const { return dims_; }
  int rank() const { return static_cast<int>(dims_.size()); }
  int64_t dim(int axis) const { return dims_[axis]; }
  int64_t elements() const { return elements_; }
  size_t byte_size() const { return static_cast<size_t>(elements_) * dtype_size(dtype_); }
  TensorType type() const;

  const void* raw() const { return data_; }
  void* mutable_raw() { return data_; }
  template <typename T>
  const T* data() const {
    TENON_CHECK(dtype_of<T> == dtype_);
    return static_cast<const T*>(data_);
  }
  template <typename T>
  T* mutable_data() {
    TENON_CHECK(dtype_of<T> == dtype_);
    return static_cast<T*>(data_);
  }
  template <typename T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<size_t>(elements_)};
  }
  Bytes bytes() const { return {static_cast<const std::byte*>(data_), byte_size()}; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

  // The elements of a list value.
  const std::vector<Tensor>& items() const { return *list_; }

  // Points at other memory for the same elements.
  void rebind(const void* data, std::shared_ptr<const void> owner) {
    data_ = const_cast<void*>(data);
    owner_ = std::move(owner);
  }
  // The same storage under other dims; the element count must agree.
  Tensor reshaped(std::vector<int64_t> dims) const;
  // A deep copy with storage of its own.
  Result<Tensor> clone() const;

  // Element `i` of any integer or boolean tensor.
  int64_t int_at(int64_t i) const;
  // Element `i` of any real tensor, as double.
  double real_at(int64_t i) const;
  // All elements of an integer tensor.
  std::vector<int64_t> to_ints() const;

 private:
  DType dtype_ = DType::none;
  std::vector<int64_t> dims_;
  int64_t elements_ = 0;
  void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<const std::vector<Tensor>> list_;
};

// Same dtype, sizes and bits (strings and lists by content).
bool bitwise_equal(const Tensor& a, const Tensor& b);

// Content hash of dtype, dims and data.
uint64_t tensor_hash(const Tensor& tensor);

// Product of sizes with overflow and limit checks. Errors: invalid_argument.
Result<int64_t> checked_elements(std::span<const int64_t> dims, size_t element_size);

}  // namespace tenon
