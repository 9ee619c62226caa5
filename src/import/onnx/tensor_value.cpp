#include "import/onnx/tensor_value.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "tensor/narrow.h"

namespace tenon::onnx {
namespace {

// A few bytes may describe a huge tensor; what is really used is far below.
constexpr int64_t kMaxSparseElements = int64_t{1} << 28;

struct External {
  std::string location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

Result<External> external_entries(const TensorProto& proto) {
  External result;
  for (const auto& [key, text] : proto.external_data) {
    if (key == "location") result.location = std::string(text);
    if (key != "offset" && key != "length") continue;
    uint64_t number = 0;
    const auto end = text.data() + text.size();
    if (std::from_chars(text.data(), end, number).ptr != end || text.empty())
      return invalid_model(fmt::format("external data has the {} '{}', not a number", key, text));
    if (key == "offset")
      result.offset = number;
    else
      result.length = number;
  }
  return result;
}

// The elements of a typed field, narrowed to T.
template <typename T, typename From>
Result<Tensor> narrowed(const std::vector<From>& values, DType dtype,
                        const std::vector<int64_t>& dims, int64_t n) {
  if (values.size() != static_cast<size_t>(n))
    return invalid_model(fmt::format("it has {} elements, its shape wants {}", values.size(), n));
  Tensor t = TRY(Tensor::allocate(dtype, dims));
  auto* out = static_cast<T*>(t.mutable_raw());
  for (size_t i = 0; i < values.size(); ++i) out[i] = static_cast<T>(values[i]);
  return t;
}

// Numbers stored as pairs of real and imaginary part.
template <typename From>
Result<Tensor> paired(const std::vector<From>& values, DType dtype,
                      const std::vector<int64_t>& dims, int64_t n) {
  if (values.size() != 2 * static_cast<size_t>(n))
    return invalid_model(fmt::format("it has {} parts, its shape wants {}", values.size(), 2 * n));
  Tensor t = TRY(Tensor::allocate(dtype, dims));
  if (n > 0) std::memcpy(t.mutable_raw(), values.data(), values.size() * sizeof(From));
  return t;
}

Result<Tensor> typed_value(const TensorProto& p, DType dtype, int64_t n) {
  if (is_narrow(dtype)) return narrowed<uint8_t>(p.ints32, dtype, p.dims, n);
  switch (dtype) {
    case DType::f32:
      return narrowed<float>(p.floats, dtype, p.dims, n);
    case DType::f64:
      return narrowed<double>(p.doubles, dtype, p.dims, n);
    case DType::f16:
    case DType::bf16:
    case DType::u16:
      return narrowed<uint16_t>(p.ints32, dtype, p.dims, n);
    case DType::i8:
      return narrowed<int8_t>(p.ints32, dtype, p.dims, n);
    case DType::u8:
      return narrowed<uint8_t>(p.ints32, dtype, p.dims, n);
    case DType::i16:
      return narrowed<int16_t>(p.ints32, dtype, p.dims, n);
    case DType::i32:
      return narrowed<int32_t>(p.ints32, dtype, p.dims, n);
    case DType::boolean:
      return narrowed<bool>(p.ints32, dtype, p.dims, n);
    case DType::i64:
      return narrowed<int64_t>(p.ints64, dtype, p.dims, n);
    case DType::u32:
      return narrowed<uint32_t>(p.uints64, dtype, p.dims, n);
    case DType::u64:
      return narrowed<uint64_t>(p.uints64, dtype, p.dims, n);
    case DType::c64:
      return paired(p.floats, dtype, p.dims, n);
    case DType::c128:
      return paired(p.doubles, dtype, p.dims, n);
    case DType::string: {
      if (p.strings.size() != static_cast<size_t>(n))
        return invalid_model(
            fmt::format("it has {} strings, its shape wants {}", p.strings.size(), n));
      Tensor t = TRY(Tensor::allocate(dtype, p.dims));
      for (size_t i = 0; i < p.strings.size(); ++i)
        t.mutable_data<std::string>()[i] = std::string(p.strings[i]);
      return t;
    }
    default:
      return internal_error("no such element type");
  }
}

// Several elements per byte, the first in the lowest bits; one byte per element comes out.
Result<Tensor> unpacked(const TensorProto& p, Bytes packed, DType dtype, int64_t n) {
  Tensor t = TRY(Tensor::allocate(dtype, p.dims));
  auto* out = static_cast<uint8_t*>(t.mutable_raw());
  const int width = narrow_bits(dtype), per_byte = 8 / width;
  for (int64_t i = 0; i < n; ++i) {
    const auto byte = static_cast<uint8_t>(packed[static_cast<size_t>(i / per_byte)]);
    out[i] = byte >> (i % per_byte * width) & ((1 << width) - 1);
  }
  return t;
}

}  // namespace

Result<DType> to_dtype(ElementType type) {
  switch (type) {
    case ElementType::f32:
      return DType::f32;
    case ElementType::u8:
      return DType::u8;
    case ElementType::i8:
      return DType::i8;
    case ElementType::u16:
      return DType::u16;
    case ElementType::i16:
      return DType::i16;
    case ElementType::i32:
      return DType::i32;
    case ElementType::i64:
      return DType::i64;
    case ElementType::string:
      return DType::string;
    case ElementType::boolean:
      return DType::boolean;
    case ElementType::f16:
      return DType::f16;
    case ElementType::f64:
      return DType::f64;
    case ElementType::u32:
      return DType::u32;
    case ElementType::u64:
      return DType::u64;
    case ElementType::complex64:
      return DType::c64;
    case ElementType::complex128:
      return DType::c128;
    case ElementType::bf16:
      return DType::bf16;
    case ElementType::f8e4m3fn:
      return narrow::f8e4m3fn;
    case ElementType::f8e4m3fnuz:
      return narrow::f8e4m3fnuz;
    case ElementType::f8e5m2:
      return narrow::f8e5m2;
    case ElementType::f8e5m2fnuz:
      return narrow::f8e5m2fnuz;
    case ElementType::f8e8m0:
      return narrow::f8e8m0;
    case ElementType::f4e2m1:
      return narrow::f4e2m1;
    case ElementType::i4:
      return narrow::i4;
    case ElementType::u4:
      return narrow::u4;
    case ElementType::i2:
      return narrow::i2;
    case ElementType::u2:
      return narrow::u2;
    default:
      return unsupported(fmt::format("there is no ONNX element type {}", static_cast<int>(type)));
  }
}

Result<Blob> TensorSource::external(const TensorProto& proto, size_t size) {
  const External e = TRY(external_entries(proto));
  if (folder_.empty())
    return not_found(fmt::format(
        "its data is in the file '{}', which is not there for a model held in memory", e.location));
  const std::filesystem::path relative = std::filesystem::path(e.location).lexically_normal();
  if (e.location.empty() || relative.is_absolute() || relative.begin()->string() == "..")
    return invalid_model(fmt::format(
        "its data is in '{}'; external data must lie in the model's folder", e.location));
  // A link may lead out of the folder too.
  std::error_code failed;
  const auto root = std::filesystem::weakly_canonical(folder_, failed);
  const auto real = std::filesystem::weakly_canonical(root / relative, failed);
  const auto inside = real.lexically_relative(root);
  if (failed || inside.empty() || inside.begin()->string() == "..")
    return invalid_model(
        fmt::format("its data is in '{}', which is outside the model's folder", e.location));
  auto& file = files_[relative.string()];
  if (file == nullptr) file = TRY(MappedFile::open(real.string()));
  const size_t available = file->bytes().size();
  const uint64_t length = e.length.value_or(size);
  if (length != size)
    return invalid_model(
        fmt::format("its shape wants {} bytes, its external data has {}", size, length));
  if (e.offset > available || length > available - e.offset)
    return invalid_model(fmt::format("it wants bytes {} to {} of '{}', which has {}", e.offset,
                                     e.offset + length, e.location, available));
  return Blob{file->bytes().subspan(e.offset, size), file};
}

Result<Tensor> TensorSource::value(const TensorProto& proto) {
  const auto convert = [&]() -> Result<Tensor> {
    const DType dtype = TRY(to_dtype(proto.type));
    for (const int64_t d : proto.dims)
      if (d < 0) return invalid_model(fmt::format("it has a dimension of {}", d));
    const int64_t n = TRY(checked_elements(proto.dims, dtype_size(dtype)));
    const int per_byte = is_narrow(dtype) ? 8 / narrow_bits(dtype) : 1;
    const bool packs = per_byte > 1;
    const size_t size = packs ? static_cast<size_t>((n + per_byte - 1) / per_byte)
                              : static_cast<size_t>(n) * dtype_size(dtype);
    if (packs && !proto.has_raw && !proto.external) {
      std::vector<std::byte> packed;
      for (const int32_t v : proto.ints32) packed.push_back(static_cast<std::byte>(v));
      if (packed.size() != size) return invalid_model("its data does not fit its shape");
      return unpacked(proto, packed, dtype, n);
    }
    if (!proto.external && !proto.has_raw) return typed_value(proto, dtype, n);
    if (dtype == DType::string) return invalid_model("strings cannot be raw data");
    Blob blob{proto.raw, owner_};
    if (proto.external) blob = TRY(external(proto, size));
    if (blob.bytes.size() != size)
      return invalid_model(
          fmt::format("its data has {} bytes, its shape wants {}", blob.bytes.size(), size));
    if (packs) return unpacked(proto, blob.bytes, dtype, n);
    Tensor t = Tensor::view(dtype, proto.dims, blob.bytes.data(), blob.owner);
    // The bytes of a message start anywhere.
    const bool aligned = reinterpret_cast<uintptr_t>(blob.bytes.data()) % dtype_size(dtype) == 0;
    if (aligned && blob.owner != nullptr && dtype != DType::boolean) return t;
    Tensor copy = TRY(Tensor::allocate(dtype, proto.dims));
    if (dtype == DType::boolean) {
      for (size_t i = 0; i < size; ++i)
        copy.mutable_data<bool>()[i] = blob.bytes[i] != std::byte{0};
      return copy;
    }
    if (size > 0) std::memcpy(copy.mutable_raw(), blob.bytes.data(), size);
    return copy;
  };
  auto result = convert();
  if (!result.ok())
    return std::move(result).error().note(fmt::format("while reading tensor '{}'", proto.name));
  return result;
}

Result<Tensor> TensorSource::value(const SparseTensorProto& proto) {
  const Tensor values = TRY(value(proto.values));
  const Tensor indices = TRY(value(proto.indices));
  if (values.dtype() == DType::string) return unsupported("sparse tensors of strings");
  if (indices.dtype() != DType::i64) return invalid_model("a sparse tensor's indices must be i64");
  for (const int64_t d : proto.dims)
    if (d < 0) return invalid_model(fmt::format("a sparse tensor has a dimension of {}", d));
  const int64_t elements = TRY(checked_elements(proto.dims, dtype_size(values.dtype())));
  if (elements > kMaxSparseElements)
    return invalid_model(fmt::format("a sparse tensor of {} elements", elements));
  Tensor dense = TRY(Tensor::zeros(values.dtype(), proto.dims));
  const auto rank = static_cast<int64_t>(proto.dims.size());
  const int64_t n = values.elements();
  const bool linear = indices.rank() == 1;
  if (indices.elements() != (linear ? n : n * rank))
    return invalid_model("a sparse tensor's indices do not match its values");
  const size_t size = dtype_size(values.dtype());
  for (int64_t i = 0; i < n; ++i) {
    int64_t at = linear ? indices.int_at(i) : 0;
    for (int64_t k = 0; !linear && k < rank; ++k) {
      const int64_t index = indices.int_at(i * rank + k);
      const int64_t extent = proto.dims[static_cast<size_t>(k)];
      if (index < 0 || index >= extent) return invalid_model("a sparse index is out of range");
      at = at * extent + index;
    }
    if (at < 0 || at >= dense.elements()) return invalid_model("a sparse index is out of range");
    std::memcpy(static_cast<std::byte*>(dense.mutable_raw()) + static_cast<size_t>(at) * size,
                static_cast<const std::byte*>(values.raw()) + static_cast<size_t>(i) * size, size);
  }
  return dense;
}

}  // namespace tenon::onnx
