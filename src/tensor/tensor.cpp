#include "tensor/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "tensor/narrow.h"

namespace tenon {

Result<int64_t> checked_elements(std::span<const int64_t> dims, size_t element_size) {
  int64_t n = 1;
  bool overflow = false;
  for (const int64_t d : dims)
    if (d < 0) return invalid_argument(fmt::format("negative dimension {} in a shape", d));
  // Without elements, too, the other sizes are multiplied somewhere.
  for (const int64_t d : dims) overflow |= __builtin_mul_overflow(n, std::max<int64_t>(d, 1), &n);
  int64_t bytes = 0;
  overflow |= __builtin_mul_overflow(n, static_cast<int64_t>(element_size), &bytes);
  const bool empty = std::ranges::find(dims, 0) != dims.end();
  if (overflow || (bytes > kMaxTensorBytes && !empty))
    return invalid_argument(fmt::format("a tensor of shape [{}] exceeds the limit of {} GiB",
                                        fmt::join(dims, ","), kMaxTensorBytes >> 30));
  return empty ? 0 : n;
}

Result<Tensor> Tensor::allocate(DType dtype, std::span<const int64_t> dims) {
  Tensor t;
  t.dtype_ = dtype;
  t.dims_.assign(dims.begin(), dims.end());
  t.elements_ = TRY(checked_elements(dims, dtype_size(dtype)));
  if (dtype == DType::string) {
    auto strings = std::make_shared<std::vector<std::string>>(static_cast<size_t>(t.elements_));
    t.data_ = strings->data();
    t.owner_ = std::move(strings);
    return t;
  }
  auto storage = allocate_aligned(t.byte_size());
  if (storage == nullptr)
    return resource_exhausted(fmt::format("out of memory allocating {} bytes", t.byte_size()));
  t.data_ = storage.get();
  t.owner_ = std::move(storage);
  return t;
}

Result<Tensor> Tensor::zeros(DType dtype, std::span<const int64_t> dims) {
  Tensor t = TRY(allocate(dtype, dims));
  if (dtype != DType::string) std::memset(t.data_, 0, t.byte_size());
  return t;
}

Tensor Tensor::view(DType dtype, std::span<const int64_t> dims, const void* data,
                    std::shared_ptr<const void> owner) {
  Tensor t;
  t.dtype_ = dtype;
  t.dims_.assign(dims.begin(), dims.end());
  t.elements_ = 1;
  for (const int64_t d : dims) t.elements_ *= d;
  t.data_ = const_cast<void*>(data);
  t.owner_ = std::move(owner);
  return t;
}

Tensor Tensor::list(DType element, std::vector<Tensor> elements) {
  Tensor t;
  t.dtype_ = element;
  t.elements_ = static_cast<int64_t>(elements.size());
  t.list_ = std::make_shared<std::vector<Tensor>>(std::move(elements));
  return t;
}

TensorType Tensor::type() const {
  if (!is_list()) return {dtype_, Shape::of(dims_)};
  TensorType type{dtype_, Shape::unranked(), true};
  const Tensor* last = nullptr;
  for (const Tensor& item : *list_) {
    if (!item.defined()) continue;  // not set yet
    if (last == nullptr)
      type.shape = Shape::of(item.dims());
    else if (item.dims() != last->dims())
      type.shape = join_shapes(type.shape, Shape::of(item.dims()));
    last = &item;
  }
  return type;
}

Tensor Tensor::reshaped(std::vector<int64_t> dims) const {
  Tensor t = *this;
  t.dims_ = std::move(dims);
  return t;
}

Result<Tensor> Tensor::clone() const {
  if (is_list() || !defined()) return *this;
  Tensor t = TRY(allocate(dtype_, dims_));
  if (dtype_ == DType::string)
    std::copy_n(data<std::string>(), elements_, t.mutable_data<std::string>());
  else if (elements_ > 0)
    std::memcpy(t.data_, data_, byte_size());
  return t;
}

int64_t Tensor::int_at(int64_t i) const {
  switch (dtype_) {
    case DType::i8:
      return data<int8_t>()[i];
    case DType::i16:
      return data<int16_t>()[i];
    case DType::i32:
      return data<int32_t>()[i];
    case DType::i64:
      return data<int64_t>()[i];
    case DType::u8:
      return data<uint8_t>()[i];
    case DType::u16:
      return data<uint16_t>()[i];
    case DType::u32:
      return data<uint32_t>()[i];
    case DType::u64:
      return static_cast<int64_t>(data<uint64_t>()[i]);
    case DType::boolean:
      return data<bool>()[i] ? 1 : 0;
    default:
      return static_cast<int64_t>(real_at(i));
  }
}

double Tensor::real_at(int64_t i) const {
  switch (dtype_) {
    case DType::f32:
      return static_cast<double>(data<float>()[i]);
    case DType::f64:
      return data<double>()[i];
    case DType::f16:
      return static_cast<double>(static_cast<float>(data<Half>()[i]));
    case DType::bf16:
      return static_cast<double>(static_cast<float>(data<BFloat16>()[i]));
    case DType::none:
    case DType::string:
    case DType::c64:
    case DType::c128:
      return 0.0;
    default:
      if (is_narrow(dtype_)) return narrow_value(dtype_, static_cast<const uint8_t*>(data_)[i]);
      return static_cast<double>(int_at(i));
  }
}

std::vector<int64_t> Tensor::to_ints() const {
  std::vector<int64_t> values(static_cast<size_t>(elements_));
  for (int64_t i = 0; i < elements_; ++i) values[static_cast<size_t>(i)] = int_at(i);
  return values;
}

bool bitwise_equal(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.is_list() != b.is_list()) return false;
  if (a.is_list()) {
    if (a.items().size() != b.items().size()) return false;
    for (size_t i = 0; i < a.items().size(); ++i)
      if (!bitwise_equal(a.items()[i], b.items()[i])) return false;
    return true;
  }
  if (a.dims() != b.dims()) return false;
  if (a.dtype() == DType::string)
    return std::equal(a.data<std::string>(), a.data<std::string>() + a.elements(),
                      b.data<std::string>());
  return a.elements() == 0 || std::memcmp(a.raw(), b.raw(), a.byte_size()) == 0;
}

uint64_t tensor_hash(const Tensor& tensor) {
  uint64_t h = hash64(as_bytes(dtype_name(tensor.dtype())), tensor.is_list() ? 1 : 0);
  h = hash64(std::as_bytes(std::span(tensor.dims())), h);
  if (tensor.is_list()) {
    for (const Tensor& item : tensor.items()) h = h * 31 + tensor_hash(item);
    return h;
  }
  if (tensor.dtype() == DType::string) {
    for (const std::string& s : tensor.span<std::string>()) h = hash64(as_bytes(s), h);
    return h;
  }
  return hash64(tensor.bytes(), h);
}

}  // namespace tenon
