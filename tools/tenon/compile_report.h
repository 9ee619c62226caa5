// What `tenon compile` says of what it did.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "calibrate/settings.h"
#include "chip/deploy.h"
#include "compiler/compile.h"
#include "tune.h"
#include "verify/verify.h"

namespace tenon::tool {

struct CompileOutcome {
  std::string output;  // the file
  Compiled compiled;
  std::vector<Verification> verifications;
  std::shared_ptr<CalibrationFindings> findings = std::make_shared<CalibrationFindings>();
  std::vector<ChipReport> chips;
  std::vector<Tuned> tuned;
  int64_t prepacked_bytes = 0;
  double seconds = 0;
};

nlohmann::json report_json(const CompileOutcome& outcome);
// The same for people, warnings on stderr.
void print_report(const CompileOutcome& outcome);

}  // namespace tenon::tool
