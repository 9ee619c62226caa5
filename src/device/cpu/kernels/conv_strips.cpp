#include "device/cpu/kernels/conv_strips.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "base/numbers.h"
#include "device/cpu/kernels/slots.h"

namespace tenon::cpu {
namespace {

// Rows of a strip, four tiles of Winograd's algorithm: of one or two, blocks have few rows to
// multiply, and methods that prepare something do so more often.
constexpr int64_t kStripRows = 24;

using Parts = std::span<const ConvStrips::Part>;

struct Rows {
  int64_t begin = 0, end = 0;
  int64_t count() const { return end - begin; }
};

int64_t images(const ConvParams& p) {
  return p.batch * p.out[0];
}
int64_t reach(const ConvParams& p) {
  return (p.kernel[1] - 1) * p.dilation[1];
}
// The first row of the input that row `o` of the output reads, and the one behind the last that
// rows before `end` do.
int64_t first_read(const ConvParams& p, int64_t o) {
  return std::clamp<int64_t>(o - p.pad_begin[1], 0, p.in[1]);
}
int64_t end_read(const ConvParams& p, int64_t end) {
  return std::clamp<int64_t>(end - p.pad_begin[1] + reach(p), 0, p.in[1]);
}

// The rows of each image's results in bands, one task each, and those in strips. The first of a
// band is shorter by the rows that the parts read beyond each other's, so that the first part
// computes as many rows each time.
struct StripPlan {
  StripPlan(Parts all, int threads) : parts(all), out(all.back().p.out[1]) {
    for (const ConvStrips::Part& part : parts.subspan(1)) {
      before += part.p.pad_begin[1];
      behind += reach(part.p) - part.p.pad_begin[1];
    }
    if (images(parts.back().p) % threads != 0) bands = std::min<int64_t>(threads, out);
  }
  int64_t tasks() const { return images(parts.back().p) * bands; }
  Rows band(int64_t i) const { return {out * i / bands, out * (i + 1) / bands}; }
  // Behind the rows of the strip that begins at row `begin` of a band.
  int64_t end(const Rows& band, int64_t begin) const {
    int64_t rows = kStripRows;
    if (begin == band.begin) rows -= behind + (begin == 0 ? 0 : before);
    return std::min(band.end, begin + std::max<int64_t>(1, rows));
  }

  Parts parts;
  int64_t out;
  int64_t before = 0, behind = 0;
  int64_t bands = 1;  // of an image
};

// Calls compute(part, rows, kept) for all that the strips of a band need, in the order of data: the
// rows of its result that the part computes, and the first of those before them that the next one
// still reads.
template <typename Compute>
void walk(const StripPlan& plan, const Rows& band, const Compute& compute) {
  const Parts parts = plan.parts;
  const size_t last = parts.size() - 1;
  std::array<int64_t, ConvStrips::kMostParts> made = {}, needed = {};
  made[last] = band.begin;
  for (size_t i = last; i > 0; --i) made[i - 1] = first_read(parts[i].p, made[i]);
  while (made[last] < band.end) {
    needed[last] = plan.end(band, made[last]);
    for (size_t i = last; i > 0; --i)
      needed[i - 1] = std::max(made[i - 1], end_read(parts[i].p, needed[i]));
    for (size_t i = 0; i <= last; ++i) {
      if (needed[i] == made[i]) continue;
      const int64_t kept = i == last ? made[i] : first_read(parts[i + 1].p, made[i + 1]);
      compute(i, Rows{made[i], needed[i]}, std::min(kept, made[i]));
      made[i] = needed[i];
    }
  }
}

int64_t row_floats(const ConvParams& p) {
  return p.out[2] * p.out_channels;
}

// The rows of a part's result as a convolution of the rows of the input that they read.
ConvParams rows_of(const ConvParams& p, Rows rows) {
  ConvParams q = p;
  const int64_t begin = first_read(p, rows.begin);
  q.batch = q.in[0] = q.out[0] = 1;
  q.in[1] = end_read(p, rows.end) - begin;
  q.out[1] = rows.count();
  q.pad_begin[1] = begin - (rows.begin - p.pad_begin[1]);
  return q;
}

struct Room {
  std::array<int64_t, ConvStrips::kMostParts> floats = {};  // of what is between two parts
  int64_t all = 0;                                          // of them
  int64_t scratch = 0;                                      // bytes of the methods
  int64_t slot_floats() const { return all + round_to_lines(scratch) / 4; }
};

Room room_of(const StripPlan& plan, const KernelTable& table) {
  Room room;
  std::array<Rows, ConvStrips::kMostParts> last = {};
  for (int64_t band = 0; band < plan.bands; ++band)
    walk(plan, plan.band(band), [&](size_t i, Rows rows, int64_t kept) {
      const auto& [method, p] = plan.parts[i];
      if (i + 1 < plan.parts.size())
        room.floats[i] = std::max(room.floats[i], (rows.end - kept) * row_floats(p));
      const ConvParams q = rows_of(p, rows);
      // Most strips are alike.
      if (last[i].begin == q.in[1] && last[i].end == q.out[1]) return;
      last[i] = {q.in[1], q.out[1]};
      room.scratch = std::max(room.scratch, conv_method(method).scratch_bytes(q, 1, table));
    });
  for (int64_t& floats : room.floats) {
    floats = round_to_lines(floats * 4) / 4;
    room.all += floats;
  }
  return room;
}

// What a task computes.
class Band {
 public:
  Band(const StripPlan& plan, const Room& room, const KernelTable& table, int64_t task, float* own)
      : plan_(plan), table_(table), image_(task / plan.bands), scratch_(own + room.all) {
    walk(plan, plan.band(task % plan.bands), [&](size_t i, Rows rows, int64_t kept) {
      float* between = own;
      for (size_t before = 0; before < i; ++before) between += room.floats[before];
      if (i + 1 < plan.parts.size()) keep(i, kept, rows.begin, between);
      compute(i, rows, i == 0 ? nullptr : between - room.floats[i - 1], between);
    });
  }

 private:
  // Moves the rows that the next part still reads to the front of what is between the two.
  void keep(size_t i, int64_t kept, int64_t made, float* between) {
    const int64_t row = row_floats(plan_.parts[i].p);
    std::memmove(between, between + (kept - first_[i]) * row,
                 static_cast<size_t>((made - kept) * row) * sizeof(float));
    first_[i] = kept;
  }

  void compute(size_t i, Rows rows, const float* before, float* behind) {
    const auto& [method, p] = plan_.parts[i];
    ConvParams q = rows_of(p, rows);
    const int64_t begin = first_read(p, rows.begin);
    std::array<ChannelPart, 8> parts;
    if (i > 0) {
      q.x = before + (begin - first_[i - 1]) * p.in[2] * p.in_channels;
      q.x_pixel_stride = p.in_channels;
    } else {
      const int64_t pixel = (image_ * p.in[1] + begin) * p.in[2];
      q.x = p.x == nullptr ? nullptr : p.x + pixel * p.x_pixel_stride;
      std::ranges::transform(p.parts, parts.begin(), [&](ChannelPart part) {
        part.x += pixel * part.pixel_stride;
        return part;
      });
      q.parts = std::span(parts).first(p.parts.size());
    }
    if (i + 1 < plan_.parts.size()) {
      q.y = behind + (rows.begin - first_[i]) * row_floats(p);
      q.y_pixel_stride = p.out_channels;
    } else {
      const int64_t pixel = (image_ * p.out[1] + rows.begin) * p.out[2];
      q.y = p.y + pixel * p.y_pixel_stride;
      if (p.residual != nullptr) q.residual = p.residual + pixel * p.residual_pixel_stride;
    }
    // Starts no thread and keeps no state: tasks share it.
    static ThreadPool alone(1);
    conv_method(method).run(q, alone, scratch_, table_);
  }

  const StripPlan& plan_;
  const KernelTable& table_;
  int64_t image_;
  float* scratch_;
  std::array<int64_t, ConvStrips::kMostParts> first_ = {};  // rows between two parts
};

Parts parts_of(const ConvStrips& chain) {
  return std::span(chain.parts).first(chain.count);
}

// Tiles of six gain wherever they follow one another. What others would read of a smaller result is
// in a cache, too.
bool gains(const ConvStrips::Part& one, const ConvStrips::Part& two) {
  constexpr int64_t kLargeResult = int64_t{4} << 20;
  const auto is_tiled = [](const ConvStrips::Part& part) {
    return part.method == ConvMethodId::kWinogradF6;
  };
  const auto is_taken = [&](const ConvStrips::Part& part) {
    return is_tiled(part) || part.method == ConvMethodId::kStrip ||
           part.method == ConvMethodId::kPointwise;
  };
  if (!is_taken(one) || !is_taken(two) || (!is_tiled(one) && !is_tiled(two))) return false;
  return (is_tiled(one) && is_tiled(two)) ||
         one.p.out[1] * row_floats(one.p) * static_cast<int64_t>(sizeof(float)) >= kLargeResult;
}

const char* refusal(const ConvParams& p) {
  if (p.kernel[0] != 1 || p.stride[0] != 1 || p.stride[1] != 1) return "strides, or taps in depth";
  const int64_t last = p.out[1] - 1 - p.pad_begin[1];
  return p.out[1] < 1 || p.pad_begin[1] < 0 || p.pad_begin[1] > reach(p) || last >= p.in[1]
             ? "rows of padding alone"
             : nullptr;
}

}  // namespace

const char* conv_strips_refusal(const ConvStrips& chain) {
  if (chain.count < 2) return "a convolution alone has no strips";
  for (size_t i = 0; i < chain.count; ++i) {
    if (const char* const reason = refusal(chain.parts[i].p)) return reason;
    if (i > 0 && !gains(chain.parts[i - 1], chain.parts[i]))
      return "what lies between is in a cache without strips";
  }
  return nullptr;
}

int64_t conv_strips_scratch_bytes(const ConvStrips& chain, int threads, const KernelTable& table) {
  const StripPlan plan(parts_of(chain), threads);
  return slots_bytes(room_of(plan, table).slot_floats(), threads);
}

void conv_strips(const ConvStrips& chain, ThreadPool& pool, void* scratch,
                 const KernelTable& table) {
  const StripPlan plan(parts_of(chain), pool.threads());
  const Room room = room_of(plan, table);
  parallel_with_slots(pool, plan.tasks(), [&](int64_t task, int64_t slot) {
    Band(plan, room, table, task, slot_floats(scratch, slot, room.slot_floats()));
  });
}

}  // namespace tenon::cpu
