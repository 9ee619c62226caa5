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

struct Word {
  int64_t unit;
  std::string_view plain, transposed;
};
constexpr Word kWords[] = {
    {1, "panels", "panels_t"}, {2, "pairs", "pairs_t"}, {4, "bytes", "bytes_t"}};

int64_t panel_elements(const PanelLayout& l) {
  return (l.k + l.unit - 1) / l.unit * l.unit * PanelLayout::kColumns;
}

// Calls f(index of the first element of a panel in the dense form, in the packed one, columns).
template <typename F>
void for_panels(const PanelLayout& l, const F& f) {
  const auto matrix = static_cast<int64_t>(l.matrix_bytes() / l.element_size());
  for (int64_t b = 0; b < l.batch; ++b)
    for (int64_t n = 0; n < l.n; n += PanelLayout::kColumns)
      f(b * l.k * l.n + n * (l.transposed ? l.k : 1),
        b * matrix + n / PanelLayout::kColumns * panel_elements(l),
        std::min(PanelLayout::kColumns, l.n - n));
}

// Calls copy(dense index, packed index, count) for elements that lie side by side in both.
template <typename Copy>
void copy_panel(const PanelLayout& l, int64_t from, int64_t to, int64_t columns, const Copy& copy) {
  if (l.unit == 1 && !l.transposed) {
    for (int64_t i = 0; i < l.k; ++i) copy(from + i * l.n, to + i * PanelLayout::kColumns, columns);
    return;
  }
  const int64_t row = l.transposed ? 1 : l.n, column = l.transposed ? l.k : 1;
  // Some rows at a time, so that what is read across them stays in the cache.
  constexpr int64_t kRows = 64;
  for (int64_t first = 0; first < l.k; first += kRows)
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t i = first; i < std::min(l.k, first + kRows); ++i)
        copy(from + i * row + c * column,
             to + (i / l.unit * PanelLayout::kColumns + c) * l.unit + i % l.unit, 1);
}

// The sums of the columns of a panel of bytes that begins at element `to`.
void add_sums(const PanelLayout& l, int64_t to, int8_t* packed) {
  const auto matrix = static_cast<int64_t>(l.matrix_bytes());
  const int64_t panels = (l.n + PanelLayout::kColumns - 1) / PanelLayout::kColumns;
  int32_t sums[PanelLayout::kColumns] = {};
  for (int64_t i = 0; i < panel_elements(l); ++i)
    sums[i / l.unit % PanelLayout::kColumns] += packed[to + i];
  const int64_t panel = to % matrix / panel_elements(l);
  const int64_t at =
      to / matrix * matrix + panels * panel_elements(l) + panel * static_cast<int64_t>(sizeof sums);
  std::memcpy(packed + at, sums, sizeof sums);
}

template <typename T>
void pack_elements(const PanelLayout& l, const T* dense, T* packed) {
  for_panels(l, [&](int64_t from, int64_t to, int64_t columns) {
    if (columns < PanelLayout::kColumns || l.k % l.unit != 0)
      std::fill_n(packed + to, panel_elements(l), T{});
    copy_panel(l, from, to, columns, [&](int64_t d, int64_t p, int64_t count) {
      std::copy_n(dense + d, count, packed + p);
    });
    if constexpr (sizeof(T) == 1) add_sums(l, to, packed);
  });
}

template <typename T>
void unpack_elements(const PanelLayout& l, const T* packed, T* dense) {
  for_panels(l, [&](int64_t from, int64_t to, int64_t columns) {
    copy_panel(l, from, to, columns, [&](int64_t d, int64_t p, int64_t count) {
      std::copy_n(packed + p, count, dense + d);
    });
  });
}

// Calls f with an element of the layout's kind.
template <typename F>
void with_elements(const PanelLayout& l, const F& f) {
  if (l.unit == 1)
    f(uint32_t{});
  else if (l.unit == 2)
    f(uint16_t{});
  else
    f(int8_t{});
}

}  // namespace

std::string PanelLayout::name() const {
  const Word& word = kWords[unit / 2];
  return fmt::format("{}/{}x{}x{}", transposed ? word.transposed : word.plain, batch, k, n);
}

std::optional<PanelLayout> PanelLayout::parse(std::string_view name) {
  PanelLayout layout;
  const size_t slash = name.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  bool known = false;
  for (const Word& word : kWords) {
    const std::string_view head = name.substr(0, slash);
    if (head != word.plain && head != word.transposed) continue;
    layout.unit = word.unit;
    layout.transposed = head == word.transposed;
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
  if ((layout.unit == 2 && layout.k % 2 != 0) || layout.name() != name) return std::nullopt;
  return layout;
}

bool PanelLayout::is_worth_storing() const {
  return dense_bytes() >= kMinStored && packed_bytes() - dense_bytes() <= dense_bytes() / 10;
}

void PanelLayout::pack(const void* dense, void* packed) const {
  with_elements(*this, [&]<typename T>(T) {
    pack_elements(*this, static_cast<const T*>(dense), static_cast<T*>(packed));
  });
}

void PanelLayout::unpack(const void* packed, void* dense) const {
  with_elements(*this, [&]<typename T>(T) {
    unpack_elements(*this, static_cast<const T*>(packed), static_cast<T*>(dense));
  });
}

std::optional<StoredLayout> StoredLayout::parse(std::string_view name) {
  if (const auto panels = PanelLayout::parse(name)) return StoredLayout(*panels);
  if (const auto scaled = ScaledLayout::parse(name)) return StoredLayout(*scaled);
  return std::nullopt;
}

std::string StoredLayout::name() const {
  return std::visit([](const auto& l) { return l.name(); }, layout_);
}
size_t StoredLayout::element_size() const {
  const auto* panels = std::get_if<PanelLayout>(&layout_);
  return panels == nullptr ? sizeof(float) : panels->element_size();
}
size_t StoredLayout::dense_bytes() const {
  return std::visit([](const auto& l) { return l.dense_bytes(); }, layout_);
}
size_t StoredLayout::packed_bytes() const {
  return std::visit([](const auto& l) { return l.packed_bytes(); }, layout_);
}

bool StoredLayout::pack(const void* dense, void* packed) const {
  if (const auto* scaled = std::get_if<ScaledLayout>(&layout_))
    return scaled->pack(static_cast<const float*>(dense), packed);
  std::get<PanelLayout>(layout_).pack(dense, packed);
  return true;
}

void StoredLayout::unpack(const void* packed, void* dense) const {
  if (const auto* scaled = std::get_if<ScaledLayout>(&layout_))
    scaled->unpack(packed, static_cast<float*>(dense));
  else
    std::get<PanelLayout>(layout_).unpack(packed, dense);
}

Result<std::shared_ptr<PackedWeight>> PackedWeight::create(const StoredLayout& layout, Bytes packed,
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
