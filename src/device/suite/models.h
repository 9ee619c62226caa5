// The models of the suite, as text: each a few ops, all ops that networks are mostly made of.
#pragma once

#include <span>
#include <string_view>

namespace tenon::device {

struct SuiteModel {
  std::string_view name;
  std::string_view graph;
};
std::span<const SuiteModel> suite_models();

// The one that cases about files, threads and streams use.
constexpr std::string_view kSmallModel = R"(graph @main (%x "x": f32[?n,8]) {
  %w = const random(seed=3) : f32[8,4]
  %b = const random(seed=4) : f32[4]
  %m = matmul(%x, %w)
  %s = add(%m, %b)
  %y = relu(%s)
  return (%y "y")
}
)";

}  // namespace tenon::device
