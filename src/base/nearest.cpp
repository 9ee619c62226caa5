#include "base/nearest.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace tenon {
namespace {

// Levenshtein's distance: insertions, deletions and replacements of single bytes.
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

constexpr size_t kLongest = 256;

size_t distance(std::string_view typed, std::string_view name) {
  return name.starts_with(typed) ? 1 : edits(typed, name);
}

}  // namespace

std::vector<std::string> by_nearness(std::string_view typed, std::vector<std::string> names) {
  std::vector<std::pair<size_t, std::string>> far;
  for (std::string& name : names)
    far.emplace_back(
        distance(typed.substr(0, kLongest), std::string_view(name).substr(0, kLongest)),
        std::move(name));
  std::ranges::sort(far);
  names.clear();
  for (auto& [_, name] : far) names.push_back(std::move(name));
  return names;
}

std::string did_you_mean(std::string_view typed, std::span<const std::string> names) {
  constexpr size_t kShown = 3;
  if (typed.empty() || typed.size() > kLongest) return {};
  std::vector<std::pair<size_t, std::string>> near;
  for (const std::string& name : names) {
    if (name.size() > kLongest) continue;
    const size_t d = distance(typed, name);
    if (d <= std::max<size_t>(1, std::max(typed.size(), name.size()) / 3))
      near.emplace_back(d, name);
  }
  std::sort(near.begin(), near.end());
  if (near.size() > kShown) near.resize(kShown);
  std::string text;
  for (size_t i = 0; i < near.size(); ++i)
    text += (i == 0                 ? "; did you mean '"
             : i + 1 == near.size() ? " or '"
                                    : ", '") +
            near[i].second + "'";
  return text.empty() ? text : text + "?";
}

}  // namespace tenon
