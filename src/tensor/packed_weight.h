// Weights in the order in which kernels read them, as model files hold them: the layouts there are,
// and a weight whose dense form is made only when someone wants it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/bytes.h"
#include "base/result.h"
#include "tensor/scaled_layout.h"
#include "tensor/tensor.h"

namespace tenon {

// `batch` matrices B[k, n], one after the other, as panels of 16 columns: of each
// [ceil(n / 16)][k / unit][16][unit] elements, the columns past n zero. The dense form is
// [batch, k, n] or, transposed, [batch, n, k]. The name says all of it: "panels/1x768x3072", with
// "_t" behind the first word where transposed; "pairs" has units of two (of 16-bit elements),
// "bytes" of four (of i8), with zeros for rows past k, and behind each matrix the i32 sums of its
// columns and of those past n, which products with a zero point need.
struct PanelLayout {
  static constexpr int64_t kColumns = 16;

  int64_t batch = 1;
  int64_t k = 0;
  int64_t n = 0;
  bool transposed = false;
  int64_t unit = 1;

  std::string name() const;
  // None where it is no name of a layout, or one of a weight larger than tensors may be.
  static std::optional<PanelLayout> parse(std::string_view name);

  size_t element_size() const { return static_cast<size_t>(4 / unit); }
  size_t dense_bytes() const { return static_cast<size_t>(batch * k * n) * element_size(); }
  size_t packed_bytes() const { return static_cast<size_t>(batch) * matrix_bytes(); }
  // Of one packed matrix, with its sums.
  size_t matrix_bytes() const {
    const auto columns = static_cast<size_t>((n + kColumns - 1) / kColumns * kColumns);
    const auto units = static_cast<size_t>((k + unit - 1) / unit);
    return columns * 4 * (units + (unit == 4 ? 1 : 0));
  }
  // Whether files hold weights of this form: large enough to matter, and not much larger for it.
  bool is_worth_storing() const;

  void pack(const void* dense, void* packed) const;
  void unpack(const void* packed, void* dense) const;
};

// Any of the layouts that a file may hold a weight in.
class StoredLayout {
 public:
  StoredLayout(const PanelLayout& layout) : layout_(layout) {}
  StoredLayout(const ScaledLayout& layout) : layout_(layout) {}
  // None as of the layouts themselves.
  static std::optional<StoredLayout> parse(std::string_view name);

  std::string name() const;
  // Of an element of the dense form.
  size_t element_size() const;
  size_t dense_bytes() const;
  size_t packed_bytes() const;
  // False where the layout does not hold these values.
  [[nodiscard]] bool pack(const void* dense, void* packed) const;
  void unpack(const void* packed, void* dense) const;

 private:
  std::variant<PanelLayout, ScaledLayout> layout_;
};

// The form of a weight that some kernels read, which a file may hold beside the weight itself.
struct PrepackedWeight {
  Tensor weight;
  std::string form;  // names all that its bytes follow from, but for the weight's
  Blob bytes;
};

// A weight that is there in a packed layout. The dense form has an address from the beginning, so
// that tensors can stand for it; reading there before make_dense() ends the process.
class PackedWeight {
 public:
  // `packed` is of layout.packed_bytes() and kept alive by `owner`. Errors: no room.
  static Result<std::shared_ptr<PackedWeight>> create(const StoredLayout& layout, Bytes packed,
                                                      std::shared_ptr<const void> owner);
  ~PackedWeight();
  PackedWeight(const PackedWeight&) = delete;
  PackedWeight& operator=(const PackedWeight&) = delete;

  const std::string& layout() const { return name_; }
  const void* packed() const { return packed_.data(); }
  const void* dense() const { return dense_; }
  size_t dense_bytes() const { return layout_.dense_bytes(); }
  // Thread-safe; unpacks once.
  void make_dense();
  bool is_dense() const { return is_dense_; }

 private:
  PackedWeight(const StoredLayout& layout, Bytes packed, std::shared_ptr<const void> owner,
               void* dense)
      : layout_(layout),
        name_(layout.name()),
        packed_(packed),
        owner_(std::move(owner)),
        dense_(dense) {}
  StoredLayout layout_;
  std::string name_;
  Bytes packed_;
  std::shared_ptr<const void> owner_;
  void* dense_;
  std::once_flag once_;
  std::atomic<bool> is_dense_ = false;
};

}  // namespace tenon
