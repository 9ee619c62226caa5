#include "tensor/packed_weight.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/check.h"
#include "tensor/tensor.h"

namespace tenon {
namespace {

// Of weights that are smaller the packing is not noticed.
constexpr size_t kMinStored = size_t{16} << 10;

constexpr std::string_view kWords[2][2] = {{"panels", "panels_t"}, {"pairs", "pairs_t"}};

// Calls f(dense index, packed index, columns) for each run of elements that lie side by side in a
// packed row: one row of a panel where units are of one element and the dense form has rows of n.
template <typename Unit, typename F>
void for_units(const PanelLayout& l, const F& f) {
  constexpr int64_t kColumns = PanelLayout::kColumns;
  const int64_t panels = (l.n + kColumns - 1) / kColumns;
  for (int64_t b = 0; b < l.batch; ++b)
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t columns = std::min(kColumns, l.n - panel * kColumns);
      const int64_t to = (b * panels + panel) * l.k * kColumns;
      const int64_t from = b * l.k * l.n + panel * kColumns * (l.transposed ? l.k : 1);
      f(from, to, columns);
    }
}

// One panel; `Copy` takes the element of the dense form and that of the packed one.
template <typename T, typename Copy>
void each_element(const PanelLayout& l, int64_t from, int64_t to, int64_t columns,
                  const Copy& copy) {
  const int64_t row = l.transposed ? 1 : l.n, column = l.transposed ? l.k : 1;
  // Some rows at a time, so that what is read across them stays in the cache.
  constexpr int64_t kRows = 64;
  for (int64_t first = 0; first < l.k; first += kRows)
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t i = first; i < std::min(l.k, first + kRows); ++i)
        copy(from + i * row + c * column,
             to + (i / l.unit * PanelLayout::kColumns + c) * l.unit + i % l.unit);
}

template <typename T>
void pack_elements(const PanelLayout& l, const T* dense, T* packed) {
  for_units<T>(l, [&](int64_t from, int64_t to, int64_t columns) {
    if (columns < PanelLayout::kColumns) std::fill_n(packed + to, l.k * PanelLayout::kColumns, T{});
    if (l.unit == 1 && !l.transposed) {
      for (int64_t i = 0; i < l.k; ++i)
        std::copy_n(dense + from + i * l.n, columns, packed + to + i * PanelLayout::kColumns);
      return;
    }
    each_element<T>(l, from, to, columns, [&](int64_t d, int64_t p) { packed[p] = dense[d]; });
  });
}

template <typename T>
void unpack_elements(const PanelLayout& l, const T* packed, T* dense) {
  for_units<T>(l, [&](int64_t from, int64_t to, int64_t columns) {
    if (l.unit == 1 && !l.transposed) {
      for (int64_t i = 0; i < l.k; ++i)
        std::copy_n(packed + to + i * PanelLayout::kColumns, columns, dense + from + i * l.n);
      return;
    }
    each_element<T>(l, from, to, columns, [&](int64_t d, int64_t p) { dense[d] = packed[p]; });
  });
}

}  // namespace

std::string PanelLayout::name() const {
  return fmt::format("{}/{}x{}x{}", kWords[unit - 1][transposed ? 1 : 0], batch, k, n);
}

std::optional<PanelLayout> PanelLayout::parse(std::string_view name) {
  PanelLayout layout;
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  bool known = false;
  for (int unit = 1; unit <= 2; ++unit)
    for (int transposed = 0; transposed <= 1; ++transposed) {
      if (kWords[unit - 1][transposed] != name.substr(0, slash)) continue;
      layout.unit = unit;
      layout.transposed = transposed == 1;
      known = true;
    }
  if (!known) return std::nullopt;
  const char* at = name.data() + slash;
  const char* const end = name.data() + name.size();
  int64_t elements = 1;
  for (int64_t* size : {&layout.batch, &layout.k, &layout.n}) {
    if (at == end) return std::nullopt;
    const auto [next, error] = std::from_chars(at + 1, end, *size);
    if (error != std::errc() || *size < 1 || *size > kMaxTensorBytes / kColumns / elements)
      return std::nullopt;
    elements *= *size;
    at = next;
  }
  // Numbers have one spelling, and there is nothing behind them.
  if (layout.k % layout.unit != 0 || layout.name() != name) return std::nullopt;
  return layout;
}

bool PanelLayout::is_worth_storing() const {
  return dense_bytes() >= kMinStored && packed_bytes() - dense_bytes() <= dense_bytes() / 10;
}

void PanelLayout::pack(const void* dense, void* packed) const {
  if (unit == 1)
    pack_elements(*this, static_cast<const uint32_t*>(dense), static_cast<uint32_t*>(packed));
  else
    pack_elements(*this, static_cast<const uint16_t*>(dense), static_cast<uint16_t*>(packed));
}

void PanelLayout::unpack(const void* packed, void* dense) const {
  if (unit == 1)
    unpack_elements(*this, static_cast<const uint32_t*>(packed), static_cast<uint32_t*>(dense));
  else
    unpack_elements(*this, static_cast<const uint16_t*>(packed), static_cast<uint16_t*>(dense));
}

Result<std::shared_ptr<PackedWeight>> PackedWeight::create(const PanelLayout& layout, Bytes packed,
                                                           std::shared_ptr<const void> owner) {
  TENON_CHECK(packed.size() == layout.packed_bytes());
  void* dense = ::mmap(nullptr, layout.dense_bytes(), PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (dense == MAP_FAILED) return resource_exhausted("out of memory reading the model");
  return std::shared_ptr<PackedWeight>(new PackedWeight(layout, packed, std::move(owner), dense));
}

PackedWeight::~PackedWeight() {
  ::munmap(dense_, layout_.dense_bytes());
}

void PackedWeight::make_dense() {
  std::call_once(once_, [&] {
    TENON_CHECK(::mprotect(dense_, layout_.dense_bytes(), PROT_READ | PROT_WRITE) == 0);
    layout_.unpack(packed_.data(), dense_);
    is_dense_ = true;
  });
}

}  // namespace tenon
