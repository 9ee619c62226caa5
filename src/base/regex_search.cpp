// The matcher: all states the expression can be in move along the text together.
#include <fmt/format.h>

#include <algorithm>

#include "base/regex.h"
#include "base/utf8.h"

namespace tenon {

using utf8::decode;

bool Regex::is_word(uint32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// The states alive at one place of the text, the preferred first, each with its captures.
struct Regex::Threads {
  explicit Threads(size_t size) : present(size, 0) {}
  std::vector<std::pair<int32_t, std::vector<int64_t>>> list;
  std::vector<uint32_t> present;  // generation in which an instruction was added
  uint32_t generation = 1;

  void clear() {
    list.clear();
    ++generation;
  }
};

void Regex::find_starts() {
  std::vector<char> seen(program_.size());
  std::vector<int32_t> pending{0};
  while (!pending.empty()) {
    const int32_t pc = pending.back();
    pending.pop_back();
    if (seen[static_cast<size_t>(pc)]++ != 0) continue;
    const Instruction& i = program_[static_cast<size_t>(pc)];
    if (i.kind == Kind::match) return starts_.set(), void();
    if (i.kind == Kind::split || i.kind == Kind::jump) pending.push_back(i.a);
    if (i.kind == Kind::split) pending.push_back(i.b);
    if (i.kind == Kind::save || i.kind == Kind::check) pending.push_back(pc + 1);
    if (i.kind != Kind::set) continue;
    for (const auto& [low, high] : sets_[static_cast<size_t>(i.a)]) {
      for (uint32_t c = low; c <= std::min(high, 0x7Fu); ++c) starts_.set(c);
      for (uint32_t byte = 0x80; byte < 0x100 && high >= 0x80; ++byte) starts_.set(byte);
    }
  }
}

size_t Regex::next_start(std::string_view text, size_t at) const {
  while (at < text.size() && !starts_[static_cast<uint8_t>(text[at])])
    at += decode(text, at).second;
  return at;
}

void Regex::follow(Threads& threads, int32_t pc, std::vector<int64_t> captures,
                   std::string_view text, size_t at) const {
  const auto word_at = [&](size_t i) {
    return i < text.size() && is_word(static_cast<uint8_t>(text[i]));
  };
  std::vector<std::pair<int32_t, std::vector<int64_t>>> pending;
  pending.emplace_back(pc, std::move(captures));
  while (!pending.empty()) {
    auto [next, saved] = std::move(pending.back());
    pending.pop_back();
    while (threads.present[static_cast<size_t>(next)] != threads.generation) {
      threads.present[static_cast<size_t>(next)] = threads.generation;
      const Instruction& i = program_[static_cast<size_t>(next)];
      if (i.kind == Kind::jump) {
        next = i.a;
      } else if (i.kind == Kind::split) {
        pending.emplace_back(i.b, saved);
        next = i.a;
      } else if (i.kind == Kind::save) {
        saved[static_cast<size_t>(i.a)] = static_cast<int64_t>(at);
        ++next;
      } else if (i.kind == Kind::check) {
        const bool begin = at == 0, end = at == text.size();
        const bool edge = word_at(at) != (at > 0 && word_at(at - 1));
        const bool holds = i.check == Check::text_begin   ? begin
                           : i.check == Check::text_end   ? end
                           : i.check == Check::line_begin ? begin || text[at - 1] == '\n'
                           : i.check == Check::line_end   ? end || text[at] == '\n'
                           : i.check == Check::word       ? edge
                                                          : !edge;
        if (!holds) break;
        ++next;
      } else {
        threads.list.emplace_back(next, std::move(saved));
        break;
      }
    }
  }
}

std::vector<int64_t> Regex::search(std::string_view text, size_t from, bool whole) const {
  Threads now(program_.size()), later(program_.size());
  const std::vector<int64_t> none(static_cast<size_t>(2 * groups_), -1);
  std::vector<int64_t> found;
  for (size_t at = from;;) {
    if (now.list.empty() && found.empty() && !whole) at = next_start(text, at);
    if (found.empty() && (at == from || !whole)) follow(now, 0, none, text, at);
    if (now.list.empty() && (whole || !found.empty())) break;
    const bool end = at >= text.size();
    const auto [point, length] = end ? std::pair<uint32_t, size_t>{0, 1} : decode(text, at);
    later.clear();
    for (auto& [pc, captures] : now.list) {
      const Instruction& i = program_[static_cast<size_t>(pc)];
      if (i.kind == Kind::match) {
        if (whole && !end) continue;
        found = captures;
        break;  // those behind it are less preferred
      }
      if (end) continue;
      const Set& set = sets_[static_cast<size_t>(i.a)];
      const auto after =
          std::upper_bound(set.begin(), set.end(), point,
                           [](uint32_t p, const auto& range) { return p < range.first; });
      if (after != set.begin() && point <= std::prev(after)->second)
        follow(later, pc + 1, std::move(captures), text, at + length);
    }
    if (end) break;
    std::swap(now, later);
    at += length;
  }
  return found;
}

bool Regex::matches(std::string_view text) const {
  return !search(text, 0, true).empty();
}

Result<std::string> Regex::replace(std::string_view text, std::string_view rewrite,
                                   bool all) const {
  std::string result;
  size_t copied = 0, previous = std::string_view::npos;
  for (size_t at = 0; at <= text.size();) {
    const auto found = search(text, at, false);
    if (found.empty()) break;
    const auto begin = static_cast<size_t>(found[0]), end = static_cast<size_t>(found[1]);
    if (begin == end && begin == previous && all) {
      // Nothing right behind a match is no match: the next character stays.
      if (begin >= text.size()) break;
      at += decode(text, begin).second;
      continue;
    }
    previous = end;
    result += text.substr(copied, begin - copied);
    for (size_t i = 0; i < rewrite.size(); ++i) {
      if (rewrite[i] != '\\' || i + 1 == rewrite.size()) {
        result += rewrite[i];
        continue;
      }
      const char c = rewrite[++i];
      if (c == '\\') {
        result += c;
        continue;
      }
      const int group = c - '0';
      if (group < 0 || group > 9 || group >= groups_)
        return invalid_argument(
            fmt::format("the replacement '{}' speaks of a group that is not there", rewrite));
      const int64_t first = found[static_cast<size_t>(group) * 2];
      const int64_t last = found[static_cast<size_t>(group) * 2 + 1];
      if (first >= 0 && last >= first)
        result += text.substr(static_cast<size_t>(first), static_cast<size_t>(last - first));
    }
    copied = end;
    if (!all) break;
    at = end;
  }
  result += text.substr(std::min(copied, text.size()));
  return result;
}

}  // namespace tenon
