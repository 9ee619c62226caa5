#include "base/nearest.h"

#include <gtest/gtest.h>

#include <array>

namespace tenon {
namespace {

TEST(Nearest, NamesWithinAThirdOfTheLength) {
  const std::array<std::string, 4> names{"fuse-bias", "fuse-pad", "fold-constants", "dead-code"};
  EXPECT_EQ(did_you_mean("fuse-bia", names), "; did you mean 'fuse-bias'?");
  EXPECT_EQ(did_you_mean("deadcode", names), "; did you mean 'dead-code'?");
  EXPECT_EQ(did_you_mean("fuse", names), "; did you mean 'fuse-bias' or 'fuse-pad'?");
  EXPECT_EQ(did_you_mean("layer-norm", names), "");
  EXPECT_EQ(did_you_mean("", names), "");
}

TEST(Nearest, AllByHowNearTheyAre) {
  const std::vector<std::string> names{"BiasAdd", "MatMul", "head", "heap_1"};
  EXPECT_EQ(by_nearness("hea", names),
            (std::vector<std::string>{"head", "heap_1", "BiasAdd", "MatMul"}));
}

}  // namespace
}  // namespace tenon
