// The suite that every device must pass: whether a plug-in keeps to include/tenon/device.h, and
// whether its device computes what the reference does. `tenon device-test` runs it.
#pragma once

#include <string>
#include <vector>

#include "device/plugin/plugin.h"

namespace tenon::device {

enum class Outcome : uint8_t {
  passed,
  failed,
  unsupported,  // the device said so (code 4)
};

struct CaseResult {
  std::string name;  // "memory/copies within a buffer"
  Outcome outcome = Outcome::passed;
  std::string detail;    // what was wrong, or what the device said
  std::string expected;  // the reason of the list, where it names the case
  bool good = false;     // passed, or failed in the way the list says
};

// What a device is known not to do, each with its reason:
//   unsupported GLOB  REASON    the device says that it cannot
//   xfail GLOB  REASON          it does something else
// where two spaces end the glob. A case of the list that passes is wrong. Lines of // are comments.
struct ListEntry {
  Outcome outcome;
  std::string glob, reason;
};
Result<std::vector<ListEntry>> read_list(const std::string& path);

struct SuiteOptions {
  std::vector<ListEntry> list;
  std::string filter;       // a glob; empty: all
  double tolerance = 1e-2;  // relative L2 of real results
};

// Errors: internal, of the suite itself; what is wrong with the device is in the results.
Result<std::vector<CaseResult>> run_suite(const Description& device, const SuiteOptions& options);

}  // namespace tenon::device
