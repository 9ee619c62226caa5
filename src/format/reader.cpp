#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "format/decoder.h"

namespace tenon {
// device_section.cpp
Result<FileDeviceSection> decode_device_section(Decoder& decoder, const std::string& target,
                                                Bytes section);

namespace {

struct Sections {
  Bytes metadata;
  Bytes weights;
  Bytes packed;
  Bytes prepacked;
  std::vector<std::pair<std::string, Bytes>> libraries;
  std::vector<std::pair<std::string, Bytes>> devices;
};

// A name before the rest: u64 length and text.

Result<std::pair<std::string, Bytes>> read_named(Bytes section) {
  const uint64_t length = section.size() < 8 ? 0 : load_le<uint64_t>(section.data());
  if (section.size() < 8 || length > section.size() - 8)
    return corrupt("a library of custom ops or a section for a device is cut off");
  return std::pair(std::string(as_text(section.subspan(8, length))), section.subspan(8 + length));
}

// The checksum of a section of a mapped file, whose pages are given back piece by piece.
uint64_t hash_and_release(Bytes bytes) {
  constexpr size_t kPiece = size_t{8} << 20;
  StreamHash64 hash;
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    const Bytes piece = bytes.subspan(at, std::min(kPiece, bytes.size() - at));
    hash.add(piece);
    release_pages(piece);
  }
  return hash.digest();
}

Result<Sections> read_container(Bytes file, const ReadOptions& options) {
  const FileLayout layout = TRY(read_layout(file));
  Sections result;
  for (size_t i = 0; i < layout.sections.size(); ++i) {
    const FileSection& s = layout.sections[i];
    const Bytes bytes = file.subspan(s.offset, s.size);
    const bool weights = s.kind == container::kWeights || s.kind == container::kPacked ||
                         s.kind == container::kPrepacked;
    const bool library = s.kind == container::kCustomOps;
    const bool device = s.kind == container::kDevice;
    if (!weights && !library && !device && s.kind != container::kMetadata) {
      if (!s.required) continue;
      return unsupported(fmt::format(
          "the file needs a section of kind {} that this runtime does not know", s.kind));
    }
    const auto checksum = [&] {
      return options.is_mapped && s.kind == container::kWeights ? hash_and_release(bytes)
                                                                : hash64(bytes);
    };
    if ((!weights || options.verify_weights) && checksum() != s.hash)
      return corrupt(fmt::format("the checksum of section {} (offset {}) is wrong", i, s.offset));
    if (library) {
      result.libraries.push_back(TRY(read_named(bytes)));
    } else if (device) {
      auto [name, rest] = TRY(read_named(bytes));
      const uint64_t end = container::aligned(sizeof(uint64_t) + name.size());
      result.devices.emplace_back(name, bytes.subspan(std::min<uint64_t>(end, bytes.size())));
    } else {
      (s.kind == container::kPacked      ? result.packed
       : s.kind == container::kPrepacked ? result.prepacked
       : s.kind == container::kWeights   ? result.weights
                                         : result.metadata) = bytes;
    }
  }
  return result;
}

}  // namespace

Result<FileLayout> read_layout(Bytes file) {
  container::Header header{};
  if (file.size() < sizeof header || std::memcmp(file.data(), container::kMagic, 8) != 0)
    return invalid_model("this is not a .tenon file; make one with `tenon compile MODEL -o FILE`");
  std::memcpy(&header, file.data(), sizeof header);
  if (header.major > kFormatMajor)
    return unsupported(fmt::format(
        "the file has format {}.{}, this runtime reads up to {}.x; update the runtime, or "
        "compile the model with the older compiler",
        header.major, header.minor, kFormatMajor));
  const uint64_t head_size =
      sizeof header + uint64_t{header.section_count} * sizeof(container::Section);
  if (header.section_count > container::kMaxSections || head_size > file.size())
    return corrupt("its section table is cut off");
  std::vector<std::byte> head(file.begin(), file.begin() + static_cast<int64_t>(head_size));
  std::memset(head.data() + offsetof(container::Header, header_hash), 0, sizeof header.header_hash);
  if (hash64(head) != header.header_hash) return corrupt("the checksum of its header is wrong");
  FileLayout layout{header.major, header.minor, {}};
  for (uint32_t i = 0; i < header.section_count; ++i) {
    container::Section s{};
    std::memcpy(&s, file.data() + sizeof header + i * sizeof s, sizeof s);
    if (s.offset % container::kAlignment != 0 || s.offset > file.size() ||
        s.size > file.size() - s.offset)
      return corrupt(fmt::format("section {} ends beyond the end of the file", i));
    layout.sections.push_back(
        {s.kind, (s.flags & container::kRequired) != 0, s.offset, s.size, s.hash});
  }
  return layout;
}

std::string_view section_name(uint32_t kind) {
  return kind == container::kMetadata    ? "metadata"
         : kind == container::kWeights   ? "weights"
         : kind == container::kCustomOps ? "custom ops"
         : kind == container::kDevice    ? "device"
         : kind == container::kPacked    ? "packed weights"
         : kind == container::kPrepacked ? "prepacked weights"
                                         : "unknown";
}

namespace {

// The metadata, as far as FlatBuffers are checked by themselves.
Result<const fbs::Model*> metadata_of(const Sections& sections) {
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(sections.metadata.data()),
                                 sections.metadata.size(), 3 * kMaxGraphDepth, kMaxTables);
  if (sections.metadata.empty() || !fbs::VerifyModelBuffer(verifier))
    return corrupt("its metadata is malformed");
  return fbs::GetModel(sections.metadata.data());
}

}  // namespace

Result<FileModel> read_model(Blob file, const ReadOptions& options) {
  const Sections sections = TRY(read_container(file.bytes, options));
  const fbs::Model& metadata = *TRY(metadata_of(sections));
  Decoder decoder(metadata, sections.weights, sections.packed, file.owner, options.keep_packed);
  FileModel model = TRY(decoder.decode());
  model.prepacked = TRY(decoder.prepacked(sections.prepacked));
  for (const auto& [name, bytes] : sections.libraries)
    model.libraries.push_back({name, {bytes, file.owner}});
  for (const auto& [name, bytes] : sections.devices) {
    FileDeviceSection& section = model.device_sections.emplace_back();
    section.target = name;
    section.bytes = bytes;
  }
  return model;
}

Result<FileDeviceSection> read_device_section(Blob file, const std::string& target, Bytes section) {
  const Sections sections = TRY(read_container(file.bytes, {.verify_weights = false}));
  Decoder decoder(*TRY(metadata_of(sections)), sections.weights, sections.packed, file.owner);
  TRY(decoder.read_ops());
  return decode_device_section(decoder, target, section);
}

Result<std::shared_ptr<const MappedFile>> container::map_file(const std::string& path) {
  auto file = MappedFile::open(path);
  if (!file.ok() && file.error().code == Code::invalid_argument)
    return std::move(file).error().note(
        "a .tenon file is made of a model by `tenon compile MODEL`");
  return file;
}

Result<FileModel> read_model_file(const std::string& path, const ReadOptions& options) {
  auto file = TRY(container::map_file(path));
  auto model = read_model({file->bytes(), file}, options);
  if (!model.ok()) return std::move(model).error().at(path);
  return model;
}

}  // namespace tenon
