#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "emit/folder.h"
#include "isa/check_program.h"
#include "simulate/elements.h"

namespace tenon::emit {

Result<std::string> device_bytes(const Tensor& value, DType dtype) {
  if (value.is_list() || !value.defined() || !isa::is_tile_dtype(dtype) ||
      !(is_float(value.dtype()) || is_int(value.dtype()) || value.dtype() == DType::boolean))
    return unsupported(fmt::format("chips have no tensors of {}", dtype_name(value.dtype())));
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  std::string out(static_cast<size_t>(value.elements() * size), '\0');
  auto* to = reinterpret_cast<std::byte*>(out.data());
  if (value.dtype() == dtype) {
    std::copy_n(static_cast<const std::byte*>(value.raw()), out.size(), to);
    return out;
  }
  constexpr int64_t kChunk = 1024;
  std::array<float, kChunk> reals;
  std::array<int64_t, kChunk> numbers;
  const bool known = isa::is_tile_dtype(value.dtype());
  const bool exact = !is_float(value.dtype());
  const auto* from = static_cast<const std::byte*>(value.raw());
  for (int64_t first = 0; first < value.elements(); first += kChunk) {
    const int64_t n = std::min(kChunk, value.elements() - first);
    const std::byte* at = from + first * static_cast<int64_t>(dtype_size(value.dtype()));
    for (int64_t i = 0; i < n && !known; ++i)
      if (exact)
        numbers[static_cast<size_t>(i)] = value.int_at(first + i);
      else
        reals[static_cast<size_t>(i)] = static_cast<float>(value.real_at(first + i));
    if (known && exact) simulate::load_ints(at, value.dtype(), 1, n, numbers.data());
    if (known && !exact) simulate::load_floats(at, value.dtype(), 1, n, reals.data());
    if (exact)
      simulate::store_ints(numbers.data(), n, dtype, 1, to + first * size);
    else
      simulate::store_floats(reals.data(), n, isa::Rounding::even, dtype, 1, to + first * size);
  }
  return out;
}

}  // namespace tenon::emit
