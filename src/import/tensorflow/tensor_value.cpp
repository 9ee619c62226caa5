#include "import/tensorflow/tensor_value.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace tenon::tf {
namespace {

// A tensor written as a few values, the last repeated, may not blow up a small file.
constexpr int64_t kMaxExpandedBytes = int64_t{256} << 20;

std::string describe(const TensorProto& proto) {
  return fmt::format("{} tensor of shape {}", dtype_name(proto.dtype), proto.shape.to_string());
}

// Values given one by one: fewer than the elements means that the last one repeats; none, zeros.
template <typename Stored, typename Given>
Result<TensorValue> from_values(const TensorProto& proto, const std::vector<Given>& given,
                                int64_t count, size_t values_per_element = 1) {
  TensorValue out{.dtype = proto.dtype, .dims = proto.shape.dims};
  const size_t wanted = static_cast<size_t>(count) * values_per_element;
  if (given.size() % values_per_element != 0 || given.size() > wanted) {
    return invalid_model(
        fmt::format("a {} holds {} values instead of {}", describe(proto), given.size(), wanted));
  }
  const size_t element_bytes = sizeof(Stored) * values_per_element;
  out.splat = count > 1 && given.size() <= values_per_element;
  const size_t stored = out.splat ? values_per_element : wanted;
  if (stored > given.size() && stored * sizeof(Stored) > kMaxExpandedBytes)
    return invalid_model(
        fmt::format("a {} is given by {} values only", describe(proto), given.size()));
  auto memory = allocate_aligned(std::max(stored * sizeof(Stored), element_bytes));
  auto* values = reinterpret_cast<Stored*>(memory.get());
  for (size_t i = 0; i < stored; ++i) {
    if (given.empty()) {
      values[i] = Stored{};
    } else {
      const size_t from =
          i < given.size() ? i : given.size() - values_per_element + i % values_per_element;
      values[i] = static_cast<Stored>(given[from]);
    }
  }
  out.data = {{memory.get(), stored * sizeof(Stored)}, memory};
  return out;
}

Result<TensorValue> from_strings(const TensorProto& proto, int64_t count) {
  TensorValue out{.dtype = proto.dtype, .dims = proto.shape.dims};
  const auto& given = proto.string_val;
  if (given.size() > static_cast<size_t>(count)) {
    return invalid_model(
        fmt::format("a {} holds {} values instead of {}", describe(proto), given.size(), count));
  }
  out.splat = count > 1 && given.size() <= 1;
  const size_t stored = out.splat ? 1 : static_cast<size_t>(count);
  if (stored > given.size() && stored > (size_t{1} << 20))
    return invalid_model(
        fmt::format("a {} is given by {} values only", describe(proto), given.size()));
  for (size_t i = 0; i < stored; ++i)
    out.strings.emplace_back(given.empty() ? std::string_view{}
                                           : given[std::min(i, given.size() - 1)]);
  return out;
}

}  // namespace

Result<int64_t> element_count(const std::vector<int64_t>& dims, DataType dtype, int64_t max_bytes) {
  int64_t count = 1;
  bool zero = false;
  for (const int64_t dim : dims) {
    if (dim < 0)
      return invalid_model(fmt::format("shape [{}] of a stored tensor has a negative dimension",
                                       fmt::join(dims, ",")));
    zero |= dim == 0;
    if (dim != 0 && __builtin_mul_overflow(count, dim, &count))
      return invalid_model(fmt::format("shape [{}] is absurdly large", fmt::join(dims, ",")));
  }
  if (zero) return 0;
  const int64_t size = static_cast<int64_t>(std::max<size_t>(dtype_size(dtype), 1));
  if (count > max_bytes / size) {
    return invalid_model(
        fmt::format("shape [{}] of {} is absurdly large", fmt::join(dims, ","), dtype_name(dtype)));
  }
  return count;
}

Result<TensorValue> tensor_value(const TensorProto& proto, std::shared_ptr<const void> owner) {
  if (proto.shape.unknown_rank) return invalid_model("a stored tensor has a shape of unknown rank");
  const int64_t count = TRY(element_count(proto.shape.dims, proto.dtype));
  if (proto.dtype == DataType::string) return from_strings(proto, count);
  const size_t size = dtype_size(proto.dtype);
  if (size == 0)
    return unsupported(
        fmt::format("a constant of type {} cannot be stored", dtype_name(proto.dtype)));
  if (!proto.content.empty()) {
    if (proto.content.size() != static_cast<size_t>(count) * size) {
      return invalid_model(fmt::format("a {} holds {} bytes instead of {}", describe(proto),
                                       proto.content.size(), static_cast<size_t>(count) * size));
    }
    return TensorValue{
        .dtype = proto.dtype, .dims = proto.shape.dims, .data = {proto.content, std::move(owner)}};
  }
  switch (proto.dtype) {
    case DataType::f32:
      return from_values<float>(proto, proto.float_val, count);
    case DataType::f64:
      return from_values<double>(proto, proto.double_val, count);
    case DataType::i32:
    case DataType::qi32:
      return from_values<int32_t>(proto, proto.int_val, count);
    case DataType::i16:
    case DataType::qi16:
      return from_values<int16_t>(proto, proto.int_val, count);
    case DataType::u16:
    case DataType::qu16:
      return from_values<uint16_t>(proto, proto.int_val, count);
    case DataType::i8:
    case DataType::qi8:
    case DataType::i4:
      return from_values<int8_t>(proto, proto.int_val, count);
    case DataType::u8:
    case DataType::qu8:
    case DataType::u4:
      return from_values<uint8_t>(proto, proto.int_val, count);
    case DataType::i64:
      return from_values<int64_t>(proto, proto.int64_val, count);
    case DataType::boolean:
      return from_values<uint8_t>(proto, proto.bool_val, count);
    case DataType::f16:
    case DataType::bf16:
      return from_values<uint16_t>(proto, proto.half_val, count);
    case DataType::u32:
      return from_values<uint32_t>(proto, proto.uint32_val, count);
    case DataType::u64:
      return from_values<uint64_t>(proto, proto.uint64_val, count);
    case DataType::complex64:
      return from_values<float>(proto, proto.scomplex_val, count, 2);
    case DataType::complex128:
      return from_values<double>(proto, proto.dcomplex_val, count, 2);
    default: {
      std::vector<uint8_t> raw(proto.float8_val.size());
      std::transform(proto.float8_val.begin(), proto.float8_val.end(), raw.begin(),
                     [](std::byte b) { return static_cast<uint8_t>(b); });
      return from_values<uint8_t>(proto, raw, count);
    }
  }
}

}  // namespace tenon::tf
