#include "import/tensorflow/bundle.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/hash.h"
#include "import/tensorflow/varint.h"

namespace tenon::tf {
namespace {

constexpr int64_t kMaxShards = 1 << 16;

Status check_entry(const BundleEntry& entry, std::string_view key, const BundleHeader& header) {
  const auto bad = [&](std::string_view what) {
    return invalid_model(fmt::format("the checkpoint's entry '{}' has {}", key, what));
  };
  if (entry.shape.unknown_rank) return bad("no shape");
  TRY(element_count(entry.shape.dims, entry.dtype));
  if (entry.shard < 0 || entry.shard >= header.num_shards)
    return bad("a shard number out of range");
  if (entry.offset < 0 || entry.size < 0) return bad("a negative offset or size");
  for (const TensorSlice& slice : entry.slices)
    if (slice.size() != entry.shape.dims.size()) return bad("a slice of another rank");
  return ok_status();
}

// Copies one slice into its place in the whole, both row-major. `extents` lie within `whole`.
void copy_slice(const std::vector<int64_t>& whole, const TensorSlice& extents, size_t element_size,
                const std::byte* from, std::byte* to) {
  const size_t rank = whole.size();
  if (rank == 0) {
    std::memcpy(to, from, element_size);
    return;
  }
  const size_t run = static_cast<size_t>(extents.back().length) * element_size;
  std::vector<int64_t> index(rank, 0);
  while (true) {
    int64_t at = 0;
    for (size_t d = 0; d < rank; ++d) at = at * whole[d] + extents[d].start + index[d];
    std::memcpy(to + static_cast<size_t>(at) * element_size, from, run);
    from += run;
    size_t d = rank - 1;
    while (d > 0 && ++index[d - 1] == extents[d - 1].length) index[--d] = 0;
    if (d == 0) return;
  }
}

}  // namespace

std::string slice_key(std::string_view name, const TensorSlice& slice) {
  // An order-preserving encoding: numbers carry their length in front, strings escape 0 and 255.
  std::string key;
  const auto put_unsigned = [&](uint64_t value) {
    char digits[8];
    int count = 0;
    for (; value > 0; value >>= 8) digits[count++] = static_cast<char>(value);
    key.push_back(static_cast<char>(count));
    while (count > 0) key.push_back(digits[--count]);
  };
  const auto put_signed = [&](int64_t value) {
    const uint64_t magnitude =
        value < 0 ? ~static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
    size_t length = 1;
    while (length < 10 && 7 * length - 1 < 64 && magnitude >> (7 * length - 1) != 0) ++length;
    char digits[10];
    const uint64_t bits = static_cast<uint64_t>(value);
    for (size_t i = 0; i < 10; ++i)
      digits[9 - i] = i < 8 ? static_cast<char>(bits >> (8 * i)) : (value < 0 ? '\xff' : '\0');
    char* begin = digits + 10 - length;
    // The header is `length` one bits; the sign flips them for negative numbers.
    const unsigned header = (0xffffu << (16 - length)) & 0xffffu;
    begin[0] = static_cast<char>(begin[0] ^ static_cast<char>(header >> 8));
    if (length > 8) begin[1] = static_cast<char>(begin[1] ^ static_cast<char>(header & 0xff));
    key.append(begin, length);
  };
  put_unsigned(0);
  for (const char c : name) {
    key.push_back(c);
    if (c == '\0') key.push_back('\xff');
    if (c == '\xff') key.push_back('\0');
  }
  key.append(std::string_view("\0\1", 2));
  put_unsigned(slice.size());
  for (const SliceExtent& extent : slice) {
    put_signed(extent.start);
    put_signed(extent.length);
  }
  return key;
}

Result<CheckpointBundle> CheckpointBundle::open(const std::string& prefix) {
  const std::string path = prefix + ".index";
  auto mapped = MappedFile::open(path);
  if (!mapped.ok()) {
    std::error_code ignored;
    if (mapped.error().code == Code::not_found &&
        std::filesystem::is_regular_file(prefix, ignored)) {
      return unsupported(
          fmt::format("'{}' is a checkpoint in TensorFlow's old V1 format; save it again with "
                      "tf.train.Saver(write_version=tf.train.SaverDef.V2)",
                      prefix));
    }
    return std::move(mapped).error().note("while opening the checkpoint's index");
  }
  auto table = read_table((*mapped)->bytes());
  if (!table.ok())
    return std::move(table).error().at(path).note("while reading the checkpoint's index");

  CheckpointBundle bundle;
  bundle.prefix_ = prefix;
  bundle.storage_ = std::make_shared<const TableEntries>(std::move(*table));
  const TableEntries& stored = *bundle.storage_;
  if (stored.empty() || !stored.front().first.empty())
    return invalid_model(
               "the checkpoint's index has no header; an old V1 checkpoint has to be saved again "
               "in the V2 format")
        .at(path);
  bundle.header_ = TRY(decode_bundle_header(as_bytes(stored.front().second)));
  if (bundle.header_.endianness != 0)
    return unsupported("the checkpoint was written on a big-endian machine").at(path);
  if (bundle.header_.num_shards < 1 || bundle.header_.num_shards > kMaxShards)
    return invalid_model(fmt::format("the checkpoint names {} shards", bundle.header_.num_shards))
        .at(path);
  if (bundle.header_.min_consumer > 1)
    return unsupported(
               fmt::format("the checkpoint needs a reader of version {}; this one knows version 1",
                           bundle.header_.min_consumer))
        .at(path);
  for (size_t i = 1; i < stored.size(); ++i) {
    const std::string_view key = stored[i].first;
    BundleEntry entry = TRY(decode_bundle_entry(as_bytes(stored[i].second), key));
    TRY(check_entry(entry, key, bundle.header_));
    bundle.entries_.emplace(key, std::move(entry));
  }
  bundle.shards_.resize(static_cast<size_t>(bundle.header_.num_shards));
  return bundle;
}

std::vector<std::string_view> CheckpointBundle::keys() const {
  std::vector<std::string_view> keys;
  for (const auto& [key, entry] : entries_)
    if (key.front() != '\0') keys.push_back(key);
  return keys;
}

const BundleEntry* CheckpointBundle::find(std::string_view key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

Result<std::shared_ptr<const MappedFile>> CheckpointBundle::shard(int64_t index,
                                                                  std::string_view key) {
  auto& slot = shards_[static_cast<size_t>(index)];
  if (!slot) {
    const std::string path =
        fmt::format("{}.data-{:05}-of-{:05}", prefix_, index, header_.num_shards);
    auto mapped = MappedFile::open(path);
    if (!mapped.ok()) {
      if (mapped.error().code != Code::not_found) return std::move(mapped).error();
      return not_found(
          fmt::format("shard '{}' of the checkpoint is missing; variable '{}' is stored in it; "
                      "copy the whole variables folder",
                      path, key));
    }
    slot = std::move(*mapped);
  }
  return slot;
}

Result<Bytes> CheckpointBundle::stored_bytes(std::string_view key, const BundleEntry& entry) {
  const auto file = TRY(shard(entry.shard, key));
  const uint64_t offset = static_cast<uint64_t>(entry.offset),
                 size = static_cast<uint64_t>(entry.size);
  const Bytes all = file->bytes();
  if (offset > all.size() || size > all.size() - offset) {
    return invalid_model(fmt::format("variable '{}' takes bytes {} to {}, but the shard has {} "
                                     "bytes; it is cut short",
                                     key, offset, offset + size, all.size()))
        .at(file->path());
  }
  return all.subspan(offset, size);
}

Result<TensorValue> CheckpointBundle::read(std::string_view key) {
  const BundleEntry* entry = find(key);
  if (!entry)
    return not_found(fmt::format("the checkpoint '{}' has no variable '{}'", prefix_, key));
  return entry->slices.empty() ? read_whole(key, *entry) : read_slices(key, *entry);
}

Result<TensorValue> CheckpointBundle::read_whole(std::string_view key, const BundleEntry& entry) {
  const auto damaged = [&] {
    return invalid_model(
               fmt::format("the checksum of variable '{}' is wrong: the shard is damaged", key))
        .at(shards_[static_cast<size_t>(entry.shard)]->path());
  };
  const Bytes stored = TRY(stored_bytes(key, entry));
  const int64_t count = TRY(element_count(entry.shape.dims, entry.dtype));
  TensorValue out{.dtype = entry.dtype, .dims = entry.shape.dims};
  if (entry.dtype != DataType::string) {
    const size_t expected = static_cast<size_t>(count) * dtype_size(entry.dtype);
    if (dtype_size(entry.dtype) == 0)
      return unsupported(fmt::format("variable '{}' is of type {}", key, dtype_name(entry.dtype)));
    if (stored.size() != expected) {
      return invalid_model(fmt::format("variable '{}' of {}{} is stored in {} bytes instead of {}",
                                       key, dtype_name(entry.dtype), entry.shape.to_string(),
                                       stored.size(), expected));
    }
    if (mask_crc(crc32c(stored)) != entry.masked_crc) return damaged();
    out.data = {stored, shards_[static_cast<size_t>(entry.shard)]};
    return out;
  }
  // Strings: the lengths, a checksum of the lengths as fixed-size integers, the text.
  Bytes in = stored;
  std::vector<uint64_t> lengths;
  uint32_t crc = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t length = 0;
    if (!take_varint(in, length)) return damaged();
    const size_t width = length <= UINT32_MAX ? 4 : 8;
    crc = crc32c({reinterpret_cast<const std::byte*>(&length), width}, crc);
    lengths.push_back(length);
  }
  if (in.size() < 4 || load_le<uint32_t>(in.data()) != mask_crc(crc)) return damaged();
  crc = crc32c(in, crc);
  if (mask_crc(crc) != entry.masked_crc) return damaged();
  in = in.subspan(4);
  for (const uint64_t length : lengths) {
    if (length > in.size()) return damaged();
    out.strings.emplace_back(as_text(in.first(length)));
    in = in.subspan(length);
  }
  return out;
}

Result<TensorValue> CheckpointBundle::read_slices(std::string_view key, const BundleEntry& entry) {
  const size_t element_size = dtype_size(entry.dtype);
  if (element_size == 0)
    return unsupported(
        fmt::format("variable '{}' is a partitioned tensor of {}", key, dtype_name(entry.dtype)));
  const int64_t count = TRY(element_count(entry.shape.dims, entry.dtype));
  const std::vector<int64_t>& whole = entry.shape.dims;
  TensorValue out{.dtype = entry.dtype, .dims = whole};

  // The pieces are looked at before memory is taken: together they hold what the whole takes.
  int64_t covered = 0;
  std::vector<std::pair<TensorSlice, TensorValue>> pieces;
  for (const TensorSlice& stored : entry.slices) {
    TensorSlice slice = stored;
    std::vector<int64_t> dims;
    for (size_t d = 0; d < slice.size(); ++d) {
      if (slice[d].length < 0) slice[d].length = whole[d];
      if (slice[d].start < 0 || slice[d].start > whole[d] ||
          slice[d].length > whole[d] - slice[d].start)
        return invalid_model(fmt::format("a slice of variable '{}' lies outside its shape {}", key,
                                         entry.shape.to_string()));
      dims.push_back(slice[d].length);
    }
    const std::string piece_key = slice_key(key, stored);
    const BundleEntry* piece = find(piece_key);
    if (!piece)
      return not_found(
          fmt::format("a slice of shape [{}] of variable '{}' is not in the checkpoint",
                      ShapeProto{false, dims}.to_string(), key));
    if (piece->dtype != entry.dtype || piece->shape.dims != dims || !piece->slices.empty())
      return invalid_model(fmt::format(
          "a slice of variable '{}' is of another shape or type than its index says", key));
    TensorValue value = TRY(read_whole(key, *piece));
    covered += TRY(element_count(dims, entry.dtype));
    pieces.emplace_back(std::move(slice), std::move(value));
  }
  if (covered != count)
    return invalid_model(fmt::format("the slices of variable '{}' hold {} elements instead of {}",
                                     key, covered, count));
  const size_t size = static_cast<size_t>(count) * element_size;
  auto memory = allocate_aligned(std::max<size_t>(size, 1));
  for (const auto& [slice, value] : pieces)
    if (!value.data.bytes.empty())
      copy_slice(whole, slice, element_size, value.data.bytes.data(), memory.get());
  out.data = {{memory.get(), size}, memory};
  return out;
}

}  // namespace tenon::tf
