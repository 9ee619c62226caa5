#include "lower/l2_pages.h"

#include <gtest/gtest.h>

namespace tenon {
namespace {

const Machine& machine(const std::string& name) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  return **catalog.find(name);
}

// A chain x -> 0 -> 1 -> … -> y of kernels, each of which reads a constant, too; `elements` of what
// is between. Tensors: x, y, the constant, what is between.
struct Chain {
  explicit Chain(const std::vector<int64_t>& elements) {
    using Role = DeviceTensor::Role;
    for (const Role role : {Role::input, Role::output, Role::constant}) add(role, 1024);
    int last = 0;
    for (const int64_t n : elements) {
      const int made = add(Role::activation, n);
      step({last, 2, made});
      last = made;
    }
    step({last, 2, 1});
  }
  int add(DeviceTensor::Role role, int64_t elements) {
    DeviceTensor t;
    t.role = role, t.elements = elements;
    tensors.push_back(std::move(t));
    return static_cast<int>(tensors.size()) - 1;
  }
  void step(std::vector<int> operands) {
    DeviceStep& s = steps.emplace_back();
    s.program.emplace();
    s.operands = std::move(operands);
  }
  std::vector<std::vector<bool>> in_l2(const std::string& chip = "ascend310") const {
    return operands_in_l2(machine(chip), steps, [&](int t) -> const DeviceTensor& {
      return tensors[static_cast<size_t>(t)];
    });
  }

  std::vector<DeviceTensor> tensors;
  std::vector<DeviceStep> steps;
};

using Held = std::vector<std::vector<bool>>;

TEST(L2Pages, WhatKernelsLeaveToEachOtherIsThere) {
  EXPECT_EQ(Chain({1 << 20, 1 << 20}).in_l2(),
            (Held{{false, false, true}, {true, false, true}, {true, false, false}}));
  EXPECT_TRUE(Chain({1 << 20}).in_l2("ascend310p3").empty()) << "a cache";
}

// 8 MiB: of what is alive at once, that which comes first; what was used last makes room.
TEST(L2Pages, WholeTensorsOrNone) {
  constexpr int64_t kMiB = 1 << 19;  // elements
  EXPECT_EQ(Chain({9 * kMiB}).in_l2(), (Held{{false, false, false}, {false, false, false}}));
  EXPECT_EQ(
      Chain({5 * kMiB, 4 * kMiB, 5 * kMiB}).in_l2(),
      (Held{
          {false, false, true}, {true, false, false}, {false, false, true}, {true, false, false}}));
}

TEST(L2Pages, WhatTheHostTouchesIsInMemory) {
  Chain chain({1024, 1024});
  chain.steps[1].program.reset();
  EXPECT_EQ(chain.in_l2(),
            (Held{{false, false, false}, {false, false, false}, {false, false, false}}));
}

}  // namespace
}  // namespace tenon
