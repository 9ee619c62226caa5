// Random numbers of unit tests.
#pragma once

#include <gtest/gtest.h>

#include <random>

namespace tenon {

// Each test draws the same numbers, whichever ran before it. Not thread-safe.
inline std::mt19937& test_random() {
  static std::mt19937 engine;
  static const testing::TestInfo* seeded_for = nullptr;
  const testing::TestInfo* running = testing::UnitTest::GetInstance()->current_test_info();
  if (running != seeded_for) {
    engine.seed(7);
    seeded_for = running;
  }
  return engine;
}

}  // namespace tenon
