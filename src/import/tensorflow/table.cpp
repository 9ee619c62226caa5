#include "import/tensorflow/table.h"

#include <fmt/format.h>
#include <snappy.h>

#include "base/hash.h"
#include "import/tensorflow/varint.h"

namespace tenon::tf {
namespace {

constexpr uint64_t kMagic = 0xdb4775248b80fb57ull;
// No element of a Snappy buffer expands a byte to more than this.
constexpr size_t kMaxExpansion = 64;
constexpr size_t kFooterSize = 48;
constexpr size_t kBlockTrailerSize = 5;  // compression kind, masked CRC

struct BlockHandle {
  uint64_t offset = 0, size = 0;
};

bool take_handle(Bytes& in, BlockHandle& handle) {
  return take_varint(in, handle.offset) && take_varint(in, handle.size);
}

// A block's content: a view of the file, or of `storage` when it was compressed.
Result<Bytes> read_block(Bytes file, const BlockHandle& handle, std::string& storage) {
  if (handle.offset > file.size() || handle.size > file.size() - handle.offset ||
      file.size() - handle.offset - handle.size < kBlockTrailerSize) {
    return invalid_model(fmt::format("a block at {} of {} bytes lies outside the file of {} bytes",
                                     handle.offset, handle.size, file.size()));
  }
  const Bytes content = file.subspan(handle.offset, handle.size);
  const Bytes checked = file.subspan(handle.offset, handle.size + 1);
  const std::byte* trailer = content.data() + content.size();
  if (mask_crc(crc32c(checked)) != load_le<uint32_t>(trailer + 1)) {
    return invalid_model(fmt::format(
        "the checksum of the block at {} is wrong: the file is damaged", handle.offset));
  }
  const int kind = static_cast<int>(*trailer);
  if (kind == 0) return content;
  if (kind != 1)
    return unsupported(
        fmt::format("the block at {} has the unknown compression {}", handle.offset, kind));
  const std::string_view compressed = as_text(content);
  size_t size = 0;
  const bool sized = snappy::GetUncompressedLength(compressed.data(), compressed.size(), &size) &&
                     size <= compressed.size() * kMaxExpansion;
  if (sized) storage.resize(size);
  if (!sized || !snappy::RawUncompress(compressed.data(), compressed.size(), storage.data()))
    return invalid_model(fmt::format("the compressed block at {} is damaged", handle.offset));
  return as_bytes(storage);
}

// Calls visit(key, value) for each entry of a block. Keys share prefixes with the one before.
template <typename Visit>
Status visit_block(Bytes block, size_t& budget, Visit&& visit) {
  const auto bad = [] { return invalid_model("a block of the table is malformed"); };
  if (block.size() < 4) return bad();
  const uint64_t restarts = load_le<uint32_t>(block.data() + block.size() - 4);
  if (restarts * 4 + 4 > block.size()) return bad();
  Bytes in = block.first(block.size() - 4 - restarts * 4);
  std::string key;
  while (!in.empty()) {
    uint64_t shared = 0, unshared = 0, value_size = 0;
    if (!take_varint(in, shared) || !take_varint(in, unshared) || !take_varint(in, value_size) ||
        shared > key.size() || unshared > in.size() || value_size > in.size() - unshared) {
      return bad();
    }
    key.resize(shared);
    key.append(as_text(in.first(unshared)));
    const size_t cost = key.size() + value_size + 2 * sizeof(std::string);
    if (cost > budget) return invalid_model("the table's keys expand beyond reason");
    budget -= cost;
    TRY(visit(key, in.subspan(unshared, value_size)));
    in = in.subspan(unshared + value_size);
  }
  return ok_status();
}

}  // namespace

Result<TableEntries> read_table(Bytes file) {
  if (file.size() < kFooterSize || load_le<uint64_t>(file.data() + file.size() - 8) != kMagic)
    return invalid_model(
        "it does not end in the magic number of a checkpoint index; it is cut short or another "
        "kind of file");
  Bytes footer = file.subspan(file.size() - kFooterSize, kFooterSize - 8);
  BlockHandle metaindex, index;
  if (!take_handle(footer, metaindex) || !take_handle(footer, index))
    return invalid_model("its footer is malformed");
  size_t budget = (size_t{64} << 20) + std::min(file.size(), size_t{1} << 40) * 16;
  TableEntries entries;
  std::string index_storage;
  const Bytes index_block = TRY(read_block(file, index, index_storage));
  TRY(visit_block(index_block, budget, [&](const std::string&, Bytes value) -> Status {
    BlockHandle handle;
    if (!take_handle(value, handle)) return invalid_model("a block handle is malformed");
    std::string storage;
    const Bytes block = TRY(read_block(file, handle, storage));
    return visit_block(block, budget, [&](const std::string& key, Bytes content) -> Status {
      if (!entries.empty() && key <= entries.back().first)
        return invalid_model("the table's keys are not in order");
      entries.emplace_back(key, as_text(content));
      return ok_status();
    });
  }));
  return entries;
}

}  // namespace tenon::tf
