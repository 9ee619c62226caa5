#include "simulate/global_memory.h"

#include <algorithm>

namespace tenon::simulate {
namespace {

constexpr int64_t kWord = 64;

void find_written(const std::vector<isa::Statement>& body, std::vector<bool>& written) {
  for (const isa::Statement& statement : body) {
    if (const auto* loop = std::get_if<isa::Loop>(&statement)) {
      find_written(loop->body, written);
      continue;
    }
    const auto& views = std::get<isa::Instruction>(statement).views;
    if (!views.empty() && views[0].memory == 0)
      written[static_cast<size_t>(views[0].buffer)] = true;
  }
}

// The bits of word w that are bytes of [begin, end).
uint64_t bits(int64_t w, int64_t begin, int64_t end) {
  const int64_t first = std::max<int64_t>(begin - w * kWord, 0);
  const int64_t last = std::min<int64_t>(end - w * kWord, kWord);
  return (~uint64_t{0} << first) & (~uint64_t{0} >> (kWord - last));
}

struct BlockNote {
  Note note;
  size_t block;
};

}  // namespace

void BlockNotes::add(int buffer, int64_t begin, int64_t length, bool writes) {
  const auto moment = static_cast<uint32_t>(moments.size() - 1);
  if (!notes.empty()) {
    Note& last = notes.back();
    if (last.buffer == buffer && last.moment == moment && last.writes == writes &&
        last.end == begin) {
      last.end += length;
      return;
    }
  }
  notes.push_back({begin, begin + length, moment, buffer, writes});
}

GlobalMemory::GlobalMemory(const isa::Program& program, std::span<const GlobalBuffer> buffers)
    : buffers_(buffers), written_(program.buffers.size()), bits_(program.buffers.size()) {
  find_written(program.body, written_);
  for (size_t i = 0; i < buffers.size(); ++i) {
    const isa::Buffer::Role role = program.buffers[i].role;
    if (role == isa::Buffer::Role::input || role == isa::Buffer::Role::constant) continue;
    const auto words = (std::ssize(buffers[i].bytes) + kWord - 1) / kWord;
    bits_[i] = std::make_unique<std::atomic<uint64_t>[]>(static_cast<size_t>(words));
  }
}

void GlobalMemory::mark_written(int buffer, int64_t begin, int64_t length) {
  auto* words = bits_[static_cast<size_t>(buffer)].get();
  if (words == nullptr) return;
  for (int64_t w = begin / kWord; w * kWord < begin + length; ++w)
    words[w].fetch_or(bits(w, begin, begin + length), std::memory_order_relaxed);
}

bool GlobalMemory::all_written(int buffer, int64_t begin, int64_t length) const {
  const auto* words = bits_[static_cast<size_t>(buffer)].get();
  if (words == nullptr) return true;
  for (int64_t w = begin / kWord; w * kWord < begin + length; ++w) {
    const uint64_t wanted = bits(w, begin, begin + length);
    if ((words[w].load(std::memory_order_relaxed) & wanted) != wanted) return false;
  }
  return true;
}

std::optional<Conflict> GlobalMemory::compare(std::span<BlockNotes* const> blocks) {
  std::vector<BlockNote> all;
  for (size_t b = 0; b < blocks.size(); ++b)
    for (const Note& note : blocks[b]->notes) all.push_back({note, b});
  std::ranges::sort(all, [](const BlockNote& a, const BlockNote& b) {
    return a.note.buffer != b.note.buffer ? a.note.buffer < b.note.buffer
                                          : a.note.begin < b.note.begin;
  });
  const auto moment = [&](const BlockNote& n) -> const BlockNotes::Moment& {
    return blocks[n.block]->moments[n.note.moment];
  };
  // Those that may reach over the next; what is over is dropped when it is met.
  std::vector<const BlockNote*> active;
  for (const BlockNote& n : all) {
    std::erase_if(active, [&](const BlockNote* a) {
      return a->note.buffer != n.note.buffer || a->note.end <= n.note.begin;
    });
    for (const BlockNote* a : active) {
      if (!a->note.writes && !n.note.writes) continue;
      if (a->block == n.block) {
        const bool first = a->note.moment <= n.note.moment;
        const auto &earlier = moment(first ? *a : n), &later = moment(first ? n : *a);
        if (later.now.done[earlier.access.queue] >= earlier.access.turn) continue;
        return Conflict{n.block,
                        n.block,
                        later.access,
                        earlier.access,
                        n.note.buffer,
                        n.note.begin,
                        std::min(n.note.end, a->note.end)};
      }
      return Conflict{n.block,
                      a->block,
                      moment(n).access,
                      moment(*a).access,
                      n.note.buffer,
                      n.note.begin,
                      std::min(n.note.end, a->note.end)};
    }
    active.push_back(&n);
  }
  for (BlockNotes* block : blocks) {
    block->notes.clear();
    block->moments.clear();
  }
  return std::nullopt;
}

}  // namespace tenon::simulate
