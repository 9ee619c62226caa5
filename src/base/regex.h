// Regular expressions in RE2's syntax over UTF-8, matched in time linear in the text (Thompson's
// simulation with captures, leftmost match, earlier alternatives first). Unicode categories (\p)
// are refused.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tenon {

class Regex {
 public:
  // Errors: invalid_argument naming what is wrong with the pattern, unsupported.
  static Result<Regex> compile(std::string_view pattern);

  // Whether the whole text matches.
  bool matches(std::string_view text) const;
  // The text with the first or every match replaced. In the rewrite, a backslash and a digit stand
  // for a group, two backslashes for one. Error: a group that is not there.
  Result<std::string> replace(std::string_view text, std::string_view rewrite, bool all) const;

 private:
  friend class RegexCompiler;
  enum class Kind : uint8_t { set, split, jump, save, check, match };
  enum class Check : uint8_t { text_begin, text_end, line_begin, line_end, word, not_word };
  struct Instruction {
    Kind kind = Kind::match;
    Check check = Check::text_begin;
    int32_t a = 0;  // set: its index; split: tried first; jump: target; save: slot
    int32_t b = 0;  // split: tried second
  };
  static bool is_word(uint32_t c);
  // Code points in ranges, ascending.
  using Set = std::vector<std::pair<uint32_t, uint32_t>>;
  struct Threads;

  // Says which bytes a match can begin with, once the program is there.
  void find_starts();
  // From `at` on the first character that a match can begin with, or the end.
  size_t next_start(std::string_view text, size_t at) const;
  // The captures of the leftmost match from `from` on; empty when there is none.
  std::vector<int64_t> search(std::string_view text, size_t from, bool whole) const;
  void follow(Threads& threads, int32_t pc, std::vector<int64_t> captures, std::string_view text,
              size_t at) const;

  std::vector<Instruction> program_;
  std::vector<Set> sets_;
  int groups_ = 1;
  std::bitset<256> starts_;  // all of them where a match can be empty
};

}  // namespace tenon
