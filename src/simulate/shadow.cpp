#include "simulate/shadow.h"

#include "base/check.h"

namespace tenon::simulate {
namespace {

// The bits of the bytes of granule g that are in [begin, end).
uint32_t bits(int64_t g, int64_t begin, int64_t end) {
  const int64_t first = std::max<int64_t>(begin - g * Shadow::kGranule, 0);
  const int64_t last = std::min<int64_t>(end - g * Shadow::kGranule, Shadow::kGranule);
  return (~uint32_t{0} << first) & (~uint32_t{0} >> (Shadow::kGranule - last));
}

}  // namespace

Shadow::Shadow(int64_t bytes) {
  const auto count = static_cast<size_t>((bytes + kGranule - 1) / kGranule);
  granules_.reset(static_cast<Granule*>(std::calloc(std::max<size_t>(count, 1), sizeof(Granule))));
  TENON_CHECK(granules_ != nullptr);
}

std::optional<Access> Shadow::read(Access access, const Clock& now, int64_t begin, int64_t length) {
  const int64_t end = begin + length;
  for (int64_t i = begin / kGranule; i * kGranule < end; ++i) {
    Granule& g = granules_.get()[i];
    if (g.write_turn > now.done[g.writer]) return Access{g.writer, g.write_turn};
    g.reads[access.queue] = access.turn;
  }
  return std::nullopt;
}

std::optional<Access> Shadow::write(Access access, const Clock& now, int64_t begin,
                                    int64_t length) {
  const int64_t end = begin + length;
  for (int64_t i = begin / kGranule; i * kGranule < end; ++i) {
    Granule& g = granules_.get()[i];
    if (g.write_turn > now.done[g.writer]) return Access{g.writer, g.write_turn};
    bool late = false;
    for (size_t q = 0; q < g.reads.size(); ++q) late |= g.reads[q] > now.done[q];
    if (late)
      for (uint32_t q = 0; q < g.reads.size(); ++q)
        if (g.reads[q] > now.done[q]) return Access{q, g.reads[q]};
    g.writer = access.queue;
    g.write_turn = access.turn;
    g.written |= bits(i, begin, end);
  }
  return std::nullopt;
}

bool Shadow::written(int64_t begin, int64_t length) const {
  const int64_t end = begin + length;
  bool all = true;
  for (int64_t i = begin / kGranule; i * kGranule < end; ++i) {
    const uint32_t wanted = bits(i, begin, end);
    all &= (granules_.get()[i].written & wanted) == wanted;
  }
  return all;
}

void Shadow::copy_written(const Shadow& from, int64_t source, int64_t begin, int64_t length) {
  for (int64_t k = 0; k < length; ++k) {
    const int64_t s = source + k, d = begin + k;
    const uint32_t bit = from.granules_.get()[s / kGranule].written >> (s % kGranule) & 1u;
    uint32_t& mask = granules_.get()[d / kGranule].written;
    mask = (mask & ~(uint32_t{1} << (d % kGranule))) | bit << (d % kGranule);
  }
}

}  // namespace tenon::simulate
