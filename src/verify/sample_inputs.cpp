#include "verify/sample_inputs.h"

#include <fmt/format.h>

#include <map>

namespace tenon {
namespace {

template <typename T, typename Next>
void fill(Tensor& t, const Next& next) {
  for (T& x : std::span(t.mutable_data<T>(), static_cast<size_t>(t.elements())))
    x = T(static_cast<float>(next()) * 0x1p-24f);
}

template <typename T, typename Next>
void fill_bits(Tensor& t, const Next& next) {
  for (T& x : std::span(t.mutable_data<T>(), static_cast<size_t>(t.elements())))
    x = static_cast<T>(next() >> 23);
}

bool is_image(const Shape& shape) {
  if (shape.rank() != 4) return false;
  const Dim last = shape[3];
  return last == Dim(1) || last == Dim(3) || last == Dim(4) || shape[1] == Dim(3);
}

}  // namespace

Result<std::vector<Tensor>> sample_inputs(std::span<const runtime::PortInfo> ports, OpenSizes sizes,
                                          uint32_t seed, bool bits) {
  std::vector<Tensor> inputs;
  std::map<std::string_view, int64_t> symbols;
  uint32_t state = seed;
  const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
  for (const runtime::PortInfo& port : ports) {
    if (!port.type.shape.ranked() || port.type.is_list)
      return unsupported(
          fmt::format("data for input '{0}' ({1}) cannot be made up; give --input {0}=FILE.npy",
                      port.name, port.type.to_string()));
    if (port.type.is_none()) {
      inputs.emplace_back();
      continue;
    }
    const int64_t other = is_image(port.type.shape) ? sizes.image : sizes.other;
    std::vector<int64_t> dims;
    for (int i = 0; i < port.type.shape.rank(); ++i) {
      const Dim d = port.type.shape[i];
      int64_t size = d.size_or(i == 0 ? sizes.batch : other);
      if (d.is_symbol()) size = symbols.try_emplace(d.name(), size).first->second;
      dims.push_back(size);
    }
    Tensor t = TRY(Tensor::zeros(port.type.dtype, dims));
    if (t.dtype() == DType::f32) fill<float>(t, next);
    if (t.dtype() == DType::f64) fill<double>(t, next);
    if (t.dtype() == DType::f16) fill<Half>(t, next);
    if (t.dtype() == DType::bf16) fill<BFloat16>(t, next);
    if (bits && t.dtype() == DType::i32) fill_bits<int32_t>(t, next);
    if (bits && t.dtype() == DType::i64) fill_bits<int64_t>(t, next);
    if (bits && t.dtype() == DType::boolean) fill_bits<bool>(t, next);
    inputs.push_back(std::move(t));
  }
  return inputs;
}

}  // namespace tenon
