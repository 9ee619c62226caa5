// NumPy broadcasting for reference evaluation: walks an output and the matching elements of its
// inputs. Shapes are checked by inference (broadcast_shapes), not here.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tenon {

// Element strides of a contiguous tensor of `dims` seen with the dimensions `out`: 0 where it
// repeats.
inline std::vector<int64_t> broadcast_strides(std::span<const int64_t> dims,
                                              std::span<const int64_t> out) {
  std::vector<int64_t> strides(out.size(), 0);
  int64_t step = 1;
  const size_t offset = out.size() - dims.size();
  for (size_t i = dims.size(); i-- > 0;) {
    strides[offset + i] = dims[i] == 1 ? 0 : step;
    step *= dims[i];
  }
  return strides;
}

// Calls f(i, at) for each output element i in row-major order, with at[k] the element of input k.
template <size_t N, typename F>
void broadcast_each(std::span<const int64_t> out,
                    const std::array<std::span<const int64_t>, N>& inputs, F&& f) {
  std::array<std::vector<int64_t>, N> strides;
  int64_t total = 1;
  for (const int64_t d : out) total *= d;
  for (size_t k = 0; k < N; ++k) strides[k] = broadcast_strides(inputs[k], out);
  std::vector<int64_t> index(out.size(), 0);
  std::array<int64_t, N> at{};
  for (int64_t i = 0; i < total; ++i) {
    f(i, at);
    for (size_t axis = out.size(); axis-- > 0;) {
      for (size_t k = 0; k < N; ++k) at[k] += strides[k][axis];
      if (++index[axis] < out[axis]) break;
      for (size_t k = 0; k < N; ++k) at[k] -= strides[k][axis] * out[axis];
      index[axis] = 0;
    }
  }
}

}  // namespace tenon
