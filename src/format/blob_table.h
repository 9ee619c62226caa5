// The weights of a file that is written: each content once, and its place. Internal to format/.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "format/container.h"
#include "tensor/packed_weight.h"
#include "tensor/tensor.h"

namespace tenon {

// Collects weights, each content once; then gives them their places.
class BlobTable {
 public:
  // `layout` as in FileConstant.
  int add(const Tensor& tensor, const std::string& layout = {}) {
    Bytes bytes = tensor.bytes();
    if (tensor.dtype() == DType::string) {
      encoded_.push_back(std::make_unique<std::string>(encode_strings(tensor)));
      bytes = as_bytes(*encoded_.back());
    }
    const uint64_t hash = hash64(bytes);
    if (const int known = find(bytes, hash); known >= 0) {
      // Those that want it in different ways get it dense.
      Blob& blob = blobs_[static_cast<size_t>(known)];
      if (blob.layout != layout) blob.layout.clear();
      return known;
    }
    const int id = static_cast<int>(blobs_.size());
    index_.emplace(hash, id);
    blobs_.push_back({bytes, layout});
    return id;
  }

  // Of a weight that is there, another form; before place().
  void add_form(const PrepackedWeight& weight) {
    const Bytes bytes = weight.weight.bytes();
    const int blob = find(bytes, hash64(bytes));
    if (blob >= 0) forms_.push_back({blob, weight.form, weight.bytes.bytes});
  }

  // Packs and places what is there; nothing is added afterwards.
  void place() {
    for (Blob& blob : blobs_) {
      const auto layout = StoredLayout::parse(blob.layout);
      const bool packs = layout && layout->dense_bytes() == blob.bytes.size();
      if (packs) blob.packed = allocate_aligned(layout->packed_bytes());
      if (blob.packed != nullptr && layout->pack(blob.bytes.data(), blob.packed.get())) {
        blob.bytes = {blob.packed.get(), layout->packed_bytes()};
      } else {
        blob.layout.clear();
      }
      Part& part = blob.layout.empty() ? dense_ : packed_;
      blob.offset = part.size;
      part.add(blob.bytes);
    }
    std::ranges::sort(forms_, {}, [](const Form& f) { return std::pair(f.blob, f.name); });
    for (Form& form : forms_) {
      form.offset = prepacked_.size;
      prepacked_.add(form.bytes);
    }
  }

  struct Blob {
    Bytes bytes;
    std::string layout;
    uint64_t offset = 0;
    std::shared_ptr<std::byte> packed;
  };
  // Of the file, a section.
  struct Part {
    std::vector<Bytes> bytes;
    uint64_t size = 0;
    void add(Bytes more) {
      bytes.push_back(more);
      size += container::aligned(more.size());
    }
  };
  struct Form {
    int blob;
    std::string_view name;
    Bytes bytes;
    uint64_t offset = 0;
  };
  const std::vector<Blob>& blobs() const { return blobs_; }
  const Part& dense() const { return dense_; }
  const Part& packed() const { return packed_; }
  const Part& prepacked() const { return prepacked_; }
  const std::vector<Form>& forms() const { return forms_; }

 private:
  // u64 length and bytes of each element.
  static std::string encode_strings(const Tensor& tensor) {
    std::string out;
    for (const std::string& s : tensor.span<std::string>()) {
      const uint64_t n = s.size();
      out.append(reinterpret_cast<const char*>(&n), sizeof n);
      out += s;
    }
    return out;
  }

  // -1: there is none of these bytes.
  int find(Bytes bytes, uint64_t hash) const {
    const auto [first, last] = index_.equal_range(hash);
    for (auto it = first; it != last; ++it)
      if (const Bytes other = blobs_[static_cast<size_t>(it->second)].bytes;
          other.size() == bytes.size() &&
          std::memcmp(other.data(), bytes.data(), bytes.size()) == 0)
        return it->second;
    return -1;
  }

  std::vector<Blob> blobs_;
  std::vector<std::unique_ptr<std::string>> encoded_;
  std::unordered_multimap<uint64_t, int> index_;
  std::vector<Form> forms_;
  Part dense_, packed_, prepacked_;
};

}  // namespace tenon
