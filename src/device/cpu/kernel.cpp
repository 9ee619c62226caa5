#include "device/cpu/kernel.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/bytes.h"
#include "device/cpu/candidates.h"

namespace tenon::cpu {

namespace {

constexpr size_t kSlabBytes = size_t{32} << 20;
// Smaller forms are allocated on their own: a page of a slab is large.
constexpr size_t kMinSlabbed = size_t{256} << 10;

}  // namespace

std::shared_ptr<std::byte> PackStore::allocate(size_t size) {
  if (size < kMinSlabbed) return allocate_aligned(size);
  const size_t rounded = (size + 63) / 64 * 64;
  if (rounded > slab_size_ - slab_used_) {
    slab_size_ = std::max(kSlabBytes, rounded);
    slab_ = allocate_aligned(slab_size_);
    slab_used_ = 0;
    if (slab_ == nullptr) {
      slab_size_ = 0;
      return nullptr;
    }
  }
  std::shared_ptr<std::byte> room(slab_, slab_.get() + slab_used_);
  slab_used_ += rounded;
  return room;
}

// The file holds equal bytes once: the address alone does not tell a constant.
PackStore::Key PackStore::key(const Tensor& constant, std::string_view layout) {
  return {constant.raw(), fmt::format("{} of {}", layout, constant.type().to_string())};
}

PackStore::Entry& PackStore::entry(const Tensor& constant, std::string_view layout,
                                   int64_t floats) {
  Entry& entry = packed_[key(constant, layout)];
  if (entry.values == nullptr) {
    const size_t size = static_cast<size_t>(floats) * sizeof(float);
    const auto storage = allocate(size);
    entry.values = Packed(storage, reinterpret_cast<const float*>(storage.get()));
    entry.constant = constant;
    entry.size = size;
    bytes_ += static_cast<int64_t>(size);
  }
  return entry;
}

void PackStore::add_stored(std::shared_ptr<PackedWeight> weight) {
  const void* dense = weight->dense();
  stored_.emplace(dense, std::move(weight));
}

void PackStore::add_prepacked(PrepackedWeight weight) {
  prepacked_.emplace(Key(weight.weight.raw(), std::move(weight.form)), std::move(weight.bytes));
}

PackStore::Packed PackStore::from_file(const Tensor& constant, std::string_view layout,
                                       int64_t floats) const {
  if (const PackedWeight* weight = stored(constant); weight && weight->layout() == layout)
    return {constant.owner(), static_cast<const float*>(weight->packed())};
  if (prepacked_.empty()) return nullptr;
  const auto found = prepacked_.find(key(constant, layout));
  if (found == prepacked_.end()) return nullptr;
  const Blob& form = found->second;
  if (form.bytes.size() != static_cast<size_t>(floats) * sizeof(float)) return nullptr;
  return {form.owner, reinterpret_cast<const float*>(form.bytes.data())};
}

std::vector<PrepackedWeight> PackStore::lasting() const {
  const std::lock_guard lock(mutex_);
  std::vector<PrepackedWeight> forms;
  for (const auto& [key, entry] : packed_)
    if (entry.lasting && entry.fill == nullptr) {
      const auto* bytes = reinterpret_cast<const std::byte*>(entry.values.get());
      forms.push_back({entry.constant, key.second, {{bytes, entry.size}, entry.values}});
    }
  return forms;
}

PackedWeight* PackStore::stored(const Tensor& constant) const {
  if (stored_.empty()) return nullptr;
  const auto found = stored_.find(constant.raw());
  return found == stored_.end() ? nullptr : found->second.get();
}

void PackStore::make_dense(const Tensor& constant) const {
  if (PackedWeight* weight = stored(constant)) weight->make_dense();
}

PackStore::Packed StepInfo::pack(size_t i, const std::string& layout, int64_t floats,
                                 PackStore::Fill fill) const {
  const Tensor& constant = *constants[i];
  PackStore::Packed packed = packs.from_file(constant, layout, floats);
  if (packed == nullptr) return packs.get(constant, layout, floats, std::move(fill), true);
  if (taken != nullptr) *taken |= uint32_t{1} << i;
  return packed;
}

void PackStore::fill(Entry& entry) {
  make_dense(entry.constant);
  entry.fill(const_cast<float*>(entry.values.get()));
  entry.fill = nullptr;
  const Bytes bytes{static_cast<const std::byte*>(entry.constant.raw()),
                    entry.constant.byte_size()};
  if (bytes.data() >= mapped_.data() && bytes.data() < mapped_.data() + mapped_.size())
    release_pages(bytes);  // the packed form is read from now on
}

PackStore::Packed PackStore::get(const Tensor& constant, std::string_view layout, int64_t floats,
                                 Fill fill, bool lasting) {
  const std::lock_guard lock(mutex_);
  const size_t known = packed_.size();
  Entry& found = entry(constant, layout, floats);
  if (packed_.size() > known) {
    found.lasting = lasting;
    found.fill = std::move(fill);
    pending_.push_back(&found);
    has_pending_ = true;
  }
  return found.values;
}

PackStore::Packed PackStore::get_filled(const Tensor& constant, std::string_view layout,
                                        int64_t floats, const Fill& fill) {
  const std::lock_guard lock(mutex_);
  const size_t known = packed_.size();
  Entry& found = entry(constant, layout, floats);
  if (packed_.size() > known) {
    make_dense(constant);
    fill(const_cast<float*>(found.values.get()));
  }
  return found.values;
}

void PackStore::fill_pending(ThreadPool& pool) {
  if (!has_pending_.load(std::memory_order_acquire)) return;
  const std::lock_guard lock(mutex_);
  // The largest first, so that the threads end together.
  std::ranges::sort(pending_, std::greater(),
                    [](const Entry* e) { return e->constant.byte_size(); });
  pool.parallel_for(static_cast<int64_t>(pending_.size()),
                    [&](int64_t i) { fill(*pending_[static_cast<size_t>(i)]); });
  pending_.clear();
  has_pending_.store(false, std::memory_order_release);
}

void PackStore::release_pages_of(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  mapped_ = bytes;
}

int64_t PackStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

namespace {

// The candidate of a step by its tuning, among those that apply.
const KernelCandidate* tuned(const StepInfo& step,
                             std::span<const KernelCandidate* const> applicable,
                             KernelChoice& choice) {
  choice.key = step_key(step);
  if (step.tuning->take) {
    for (const KernelCandidate* c : applicable)
      choice.measured.push_back({std::string(c->name), 0});
    return applicable[*step.tuning->take < applicable.size() ? *step.tuning->take : 0];
  }
  if (const auto found = step.tuning->steps.find(choice.key); found != step.tuning->steps.end())
    choice.measured = found->second;
  for (const MeasuredKernel& kernel : choice.measured)
    for (const KernelCandidate* c : applicable)
      if (c->name == kernel.name) return c;
  return applicable[0];
}

}  // namespace

KernelChoice choose_candidate(const StepInfo& step) {
  KernelChoice choice;
  std::vector<const KernelCandidate*> applicable;
  for (const KernelCandidate* candidate : candidates_of(step.op.def().name)) {
    const std::string reason = candidate->refuses(step);
    if (reason.empty())
      applicable.push_back(candidate);
    else if (applicable.empty())
      choice.refusals.push_back(std::string(candidate->name) + ": " + reason);
    if (!applicable.empty() && step.tuning == nullptr) break;
  }
  if (applicable.empty()) return choice;
  const KernelCandidate& chosen =
      step.tuning == nullptr ? *applicable[0] : *tuned(step, applicable, choice);
  choice.kernel = chosen.make(step);
  choice.name = chosen.name;
  return choice;
}

KernelChoice choose_kernel(const StepInfo& step) {
  KernelChoice choice = choose_candidate(step);
  if (choice.kernel == nullptr) choice.kernel = make_widened(step, choice.name);
  return choice;
}

}  // namespace tenon::cpu
