// Ops that place or pick elements by index: one_hot, gather_nd, table_find;
// running sums.
#include <algorithm>
#include <cstring>

#include "base/hash.h"
#include "device/cpu/candidates.h"
#include "ops/axis.h"
#include "ops/cumulative.h"
#include "ops/find.h"
#include "ops/gather.h"
#include "ops/movement.h"
#include "ops/one_hot.h"
#include "tensor/visit.h"

namespace tenon::cpu {
namespace {

bool is_index(DType t) {
  return t == DType::i32 || t == DType::i64;
}
int64_t index_at(const Tensor& t, int64_t i) {
  return t.dtype() == DType::i32 ? t.data<int32_t>()[i] : t.data<int64_t>()[i];
}

std::string one_hot_refuses(const StepInfo& s) {
  const DType t = s.outputs[0].dtype;
  if (t == DType::string || dtype_size(t) > 8) return "not for this type";
  if (!is_index(s.inputs[0].dtype)) return "only i32 and i64 indices";
  for (const size_t i : {2, 3})
    if (s.inputs[i].shape.elements() != 1) return "the values are not single";
  return {};
}

class OneHotKernel final : public Kernel {
 public:
  explicit OneHotKernel(const StepInfo& s) {
    const OneHot& op = *s.op.as<OneHot>();
    const Shape& y = s.outputs[0].shape;
    const int axis = static_cast<int>(op.axis < 0 ? op.axis + y.rank() : op.axis);
    depth_ = y[axis].size();
    inner_ = product(y.sizes(), axis + 1, y.rank());
    wrap_ = op.wrap_negative;
  }
  Status run(const RunContext& c) const override {
    Tensor& y = *c.outputs[0];
    visit_storage(y.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (std::is_integral_v<T>) {
        const T on = *static_cast<const T*>(c.inputs[2]->raw());
        T* out = static_cast<T*>(y.mutable_raw());
        std::fill_n(out, y.elements(), *static_cast<const T*>(c.inputs[3]->raw()));
        const Tensor& indices = *c.inputs[0];
        for (int64_t i = 0; i < indices.elements(); ++i) {
          int64_t at = index_at(indices, i);
          if (wrap_ && at < 0) at += depth_;
          if (at >= 0 && at < depth_) out[(i / inner_ * depth_ + at) * inner_ + i % inner_] = on;
        }
      }
    });
    return {};
  }

 private:
  int64_t depth_ = 0, inner_ = 1;
  bool wrap_ = false;
};

std::string gather_refuses(const StepInfo& s) {
  if (s.inputs[0].dtype == DType::string || s.inputs[0].is_list) return "strings";
  return is_index(s.inputs[1].dtype) ? "" : "only i32 and i64 indices";
}

class GatherNdKernel final : public Kernel {
 public:
  explicit GatherNdKernel(const StepInfo& s) {
    const std::vector<int64_t> x = s.inputs[0].shape.sizes(), index = s.inputs[1].shape.sizes();
    const int batch = static_cast<int>(s.op.as<GatherNd>()->batch_dims);
    const int last = static_cast<int>(index.size()) - 1;
    const int depth = static_cast<int>(index.back());
    const int rank = static_cast<int>(x.size());
    sizes_.assign(x.begin() + batch, x.begin() + batch + depth);
    batches_ = product(x, 0, batch);
    count_ = product(index, batch, last);
    const auto bytes = static_cast<int64_t>(dtype_size(s.inputs[0].dtype));
    row_bytes_ = product(x, batch, rank) * bytes;
    inner_bytes_ = product(x, batch + depth, rank) * bytes;
  }
  Status run(const RunContext& c) const override {
    const char* x = static_cast<const char*>(c.inputs[0]->raw());
    char* y = static_cast<char*>(c.outputs[0]->mutable_raw());
    int64_t at = 0;
    for (int64_t b = 0; b < batches_; ++b, x += row_bytes_)
      for (int64_t i = 0; i < count_; ++i) {
        int64_t place = 0;
        for (const int64_t size : sizes_) {
          int64_t k = index_at(*c.inputs[1], at++);
          if (k < 0 || k >= size) k = TRY(wrap_index(k, size, "gather_nd"));
          place = place * size + k;
        }
        std::memcpy(y, x + place * inner_bytes_, static_cast<size_t>(inner_bytes_));
        y += inner_bytes_;
      }
    return {};
  }

 private:
  std::vector<int64_t> sizes_;
  int64_t batches_ = 1, count_ = 1, row_bytes_ = 0, inner_bytes_ = 0;
};

// Running sums along the middle of [outer, size, inner].
template <typename T>
void cumulate(const AxisView& v, bool exclusive, bool reverse, const T* x, T* y) {
  for (int64_t o = 0; o < v.outer; ++o) {
    const int64_t base = o * v.size * v.inner;
    for (int64_t k = 0; k < v.size; ++k) {
      const int64_t at = base + (reverse ? v.size - 1 - k : k) * v.inner;
      const int64_t before = reverse ? at + v.inner : at - v.inner;
      for (int64_t i = 0; i < v.inner; ++i) {
        const T sum = k == 0 ? T(0) : y[before + i];
        const T added = exclusive ? (k == 0 ? T(0) : x[before + i]) : x[at + i];
        y[at + i] = static_cast<T>(sum + added);
      }
    }
  }
}

class CumSumKernel final : public Kernel {
 public:
  explicit CumSumKernel(const StepInfo& s)
      : op_(*s.op.as<CumSum>()), view_(axis_view(s.inputs[0].shape.sizes(), op_.axis)) {}
  Status run(const RunContext& c) const override {
    // Unsigned sums wrap as the signed ones are meant to.
    if (c.inputs[0]->dtype() == DType::i32)
      run_as<uint32_t>(c);
    else
      run_as<uint64_t>(c);
    return {};
  }

 private:
  template <typename T>
  void run_as(const RunContext& c) const {
    cumulate(view_, op_.exclusive, op_.reverse, static_cast<const T*>(c.inputs[0]->raw()),
             static_cast<T*>(c.outputs[0]->mutable_raw()));
  }
  CumSum op_;
  AxisView view_;
};

std::string cumsum_refuses(const StepInfo& s) {
  return is_index(s.inputs[0].dtype) ? "" : "only i32 and i64";
}

// The element's bytes, or its text.
Bytes key_of(const Tensor& x, int64_t i) {
  if (x.dtype() == DType::string) return as_bytes(x.data<std::string>()[i]);
  const size_t size = dtype_size(x.dtype());
  return {static_cast<const std::byte*>(x.raw()) + static_cast<size_t>(i) * size, size};
}

bool same_key(Bytes a, Bytes b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string table_refuses(const StepInfo& s) {
  const Tensor* keys = s.constants[1];
  if (keys == nullptr || keys->is_list()) return "the keys are not constant";
  return keys->elements() < int64_t{1} << 30 ? "" : "too many keys";
}

// Looks keys up in a hash table over the constant ones, made once: slots that hold the number of a
// key plus 1, or 0; a key stands in the first free slot from its hash on.
class TableFindKernel final : public Kernel {
 public:
  explicit TableFindKernel(const StepInfo& s) : keys_(*s.constants[1]) {
    uint64_t slots = 16;
    while (slots < 2 * static_cast<uint64_t>(keys_.elements())) slots *= 2;
    mask_ = slots - 1;
    const auto fill = [keys = keys_, mask = mask_](float* room) {
      auto* table = reinterpret_cast<uint32_t*>(room);
      std::fill_n(table, mask + 1, 0U);
      for (int64_t i = 0; i < keys.elements(); ++i) {
        const uint64_t slot = slot_of(keys, table, mask, key_of(keys, i));
        if (table[slot] == 0) table[slot] = static_cast<uint32_t>(i + 1);
      }
    };
    table_ = s.packs.get_filled(keys_, "hash", static_cast<int64_t>(slots), fill);
  }
  Status run(const RunContext& c) const override {
    const auto* table = reinterpret_cast<const uint32_t*>(table_.get());
    const Tensor& query = *c.inputs[0];
    if (c.inputs[2]->elements() < keys_.elements() || c.inputs[3]->elements() < 1)
      return invalid_argument("table_find needs a value for each key and one default");
    for (int64_t i = 0; i < query.elements(); ++i) {
      const uint32_t found = table[slot_of(keys_, table, mask_, key_of(query, i))];
      copy_elements(*c.outputs[0], i, *c.inputs[found > 0 ? 2 : 3],
                    found > 0 ? int64_t{found} - 1 : 0, 1);
    }
    return {};
  }

 private:
  // Where the key is, or would be.
  static uint64_t slot_of(const Tensor& keys, const uint32_t* table, uint64_t mask, Bytes key) {
    uint64_t slot = hash64(key) & mask;
    while (table[slot] != 0 && !same_key(key_of(keys, int64_t{table[slot]} - 1), key))
      slot = (slot + 1) & mask;
    return slot;
  }

  Tensor keys_;
  uint64_t mask_ = 0;
  PackStore::Packed table_;
};

template <typename K>
std::unique_ptr<Kernel> make(const StepInfo& s) {
  return std::make_unique<K>(s);
}

constexpr KernelCandidate kCandidates[] = {
    {OneHot::name, "index_one_hot", one_hot_refuses, make<OneHotKernel>},
    {GatherNd::name, "index_gather", gather_refuses, make<GatherNdKernel>},
    {CumSum::name, "index_cumsum", cumsum_refuses, make<CumSumKernel>},
    {TableFind::name, "hash_table", table_refuses, make<TableFindKernel>},
};

}  // namespace

std::span<const KernelCandidate> indexing_candidates() {
  return kCandidates;
}

}  // namespace tenon::cpu
