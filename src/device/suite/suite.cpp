#include "device/suite/suite.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

#include "device/suite/cases.h"

namespace tenon::device {
namespace {

std::string trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r"), end = text.find_last_not_of(" \t\r");
  return begin == std::string_view::npos ? "" : std::string(text.substr(begin, end - begin + 1));
}

bool matches(const std::string& glob, const std::string& name) {
  return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
}

CaseResult run_case(const Case& c, Bench& bench, const SuiteOptions& options) {
  CaseResult result;
  result.name = c.name;
  const Status status = c.run(bench);
  if (!status.ok()) {
    const bool unsupported = status.error().code == Code::unsupported;
    result.outcome = unsupported ? Outcome::unsupported : Outcome::failed;
    result.detail = status.error().to_string();
  }
  const auto entry = std::ranges::find_if(
      options.list, [&](const ListEntry& e) { return matches(e.glob, c.name); });
  if (entry == options.list.end()) {
    result.good = result.outcome == Outcome::passed;
    return result;
  }
  result.expected = entry->reason;
  result.good = result.outcome == entry->outcome;
  if (result.outcome == Outcome::passed)
    result.detail = "it passes, but the list says that it does not: " + entry->reason;
  return result;
}

}  // namespace

Result<std::vector<ListEntry>> read_list(const std::string& path) {
  const std::string text = TRY(read_text_file(path));
  std::vector<ListEntry> entries;
  int number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string line = trim(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1);
    ++number;
    if (line.empty() || line.starts_with("//")) continue;
    const size_t space = line.find(' '), gap = line.find("  ");
    const std::string kind = line.substr(0, space);
    if ((kind != "unsupported" && kind != "xfail") || gap == std::string::npos || gap <= space)
      return invalid_argument("expected `unsupported GLOB  REASON` or `xfail GLOB  REASON`")
          .at(fmt::format("{}:{}", path, number));
    entries.push_back({kind == "xfail" ? Outcome::failed : Outcome::unsupported,
                       trim(line.substr(space, gap - space)), trim(line.substr(gap))});
  }
  return entries;
}

Result<std::vector<CaseResult>> run_suite(const Description& device, const SuiteOptions& options) {
  const auto bench = TRY(Bench::open(device, options.tolerance));
  std::vector<Case> cases = interface_cases();
  for (auto&& more : {load_cases(), execute_cases()})
    cases.insert(cases.end(), more.begin(), more.end());
  std::vector<CaseResult> results;
  for (const Case& c : cases)
    if (options.filter.empty() || matches(options.filter, c.name))
      results.push_back(run_case(c, *bench, options));
  for (const ListEntry& e : options.list) {
    const bool used =
        std::ranges::any_of(cases, [&](const Case& c) { return matches(e.glob, c.name); });
    if (!used) results.push_back({e.glob, Outcome::failed, "the list names no case", e.reason});
  }
  return results;
}

}  // namespace tenon::device
