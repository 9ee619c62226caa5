// The time of each step of a plan, as `tenon bench --profile` shows it.
#pragma once

#include <nlohmann/json.hpp>

#include "runtime/model.h"

namespace tenon::tool {

// The best time of each step over the runs: noise only ever adds.
struct Profile {
  runtime::PlanReport best;
  int64_t runs = 0;

  void add(runtime::PlanReport&& report);
};

void print_profile(const runtime::PlanReport& report);
nlohmann::json profile_json(const runtime::PlanReport& report);

}  // namespace tenon::tool
