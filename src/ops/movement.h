// What the ops that move data share: strided copies, checks of index operands, small integer
// values.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ops/op.h"
#include "ops/strided_view.h"

namespace tenon {

// Strides in elements of a dense row-major tensor; zeros where it has no elements.
std::vector<int64_t> row_major_strides(std::span<const int64_t> dims);

// Product of dims[from, to); dims are those of an allocated tensor.
int64_t product(std::span<const int64_t> dims, int from, int to);
Dim product_of(const Shape& shape);

// dst[dst_offset + i] = src[src_offset + i] for i < count; both of one dtype, not overlapping.
void copy_elements(Tensor& dst, int64_t dst_offset, const Tensor& src, int64_t src_offset,
                   int64_t count);

// Fills dense dst: dst[i0, i1, …] = src[offset + i0 * strides[0] + i1 * strides[1] + …].
void copy_strided(const Tensor& src, int64_t offset, std::span<const int64_t> strides, Tensor& dst);
void copy_view(const Tensor& src, const StridedView& view, Tensor& dst);

// Output 0 gets the elements of input 0 under the output's dims (those of the input when it is not
// allocated).
Status forward(EvalContext& context);

// Every operand given is a tensor, none a list. Error names the op.
Status require_tensors(const InferContext& context, std::string_view op);
// Operand i is an i32 or i64 tensor of the given rank (-1: any).
Status require_indices(const InferContext& context, int i, std::string_view op,
                       std::string_view what, int rank = -1);

// The elements of operand i where it is a small integer tensor partly known.
std::optional<SymInts> small_ints(const InferContext& context, int i);
// The same, unknown elements where nothing but the number is known.
std::optional<SymInts> small_ints_or_unknown(const InferContext& context, int i);

// Axes in [-rank, rank) to [0, rank), refusing repetitions. Error names the op.
Result<std::vector<int>> normalize_axes(std::span<const int64_t> axes, int rank,
                                        std::string_view op);

// The more precise of two dimensions that must be equal; nullopt when they contradict.
std::optional<Dim> merge_dims(Dim a, Dim b);

// An index in [-size, size) to [0, size). Error names the op.
Result<int64_t> wrap_index(int64_t index, int64_t size, std::string_view op);

}  // namespace tenon
