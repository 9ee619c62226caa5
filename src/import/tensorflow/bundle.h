// A TensorFlow checkpoint in the bundle format: PREFIX.index and PREFIX.data-0000i-of-0000n.
// Tensors are views of the mapped shards, checked against their CRC when read.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "import/tensorflow/table.h"
#include "import/tensorflow/tensor_value.h"

namespace tenon::tf {

class CheckpointBundle {
 public:
  // Opens PREFIX.index. Errors: not_found when there is none, unsupported for the old single-file
  // format, invalid_model when it is damaged. The shards are opened when a tensor needs them.
  static Result<CheckpointBundle> open(const std::string& prefix);

  // Keys in order.
  std::vector<std::string_view> keys() const;
  // Null when there is no such tensor.
  const BundleEntry* find(std::string_view key) const;
  // The tensor, its slices put together. Errors: not_found for an unknown key or a missing shard.
  Result<TensorValue> read(std::string_view key);

 private:
  CheckpointBundle() = default;
  Result<Bytes> stored_bytes(std::string_view key, const BundleEntry& entry);
  Result<TensorValue> read_whole(std::string_view key, const BundleEntry& entry);
  Result<TensorValue> read_slices(std::string_view key, const BundleEntry& entry);
  Result<std::shared_ptr<const MappedFile>> shard(int64_t index, std::string_view key);

  std::string prefix_;
  BundleHeader header_;
  std::shared_ptr<const TableEntries> storage_;  // what the entries' views point into
  std::map<std::string_view, BundleEntry> entries_;
  std::vector<std::shared_ptr<const MappedFile>> shards_;
};

// The key under which one slice of a partitioned tensor is stored.
std::string slice_key(std::string_view name, const TensorSlice& slice);

}  // namespace tenon::tf
