#include "base/crash_guard.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace tenon {
namespace {

void write_to(volatile int* place) {
  *place = 1;  // NOLINT(clang-analyzer-core.NullDereference): the crash under test
}

class CrashGuard : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer answers the signals itself";
#endif
  }
};
using CrashGuardDeathTest = CrashGuard;

TEST_F(CrashGuard, ReturnsAsIfNothingWere) {
  int calls = 0;
  EXPECT_EQ(call_guarded([&] { ++calls; }), "");
  EXPECT_EQ(calls, 1);
}

TEST_F(CrashGuard, TellsWhatEndedTheCall) {
  for (int round = 0; round < 3; ++round) {
    EXPECT_NE(call_guarded([] { write_to(nullptr); }).find("SIGSEGV"), std::string::npos);
    EXPECT_NE(call_guarded([] { std::abort(); }).find("SIGABRT"), std::string::npos);
    EXPECT_EQ(call_guarded([] { throw std::runtime_error("no rank"); }), "an exception: no rank");
  }
}

TEST_F(CrashGuard, InnerCallsDoNotEndOuterOnes) {
  std::string inner;
  bool went_on = false;
  EXPECT_EQ(call_guarded([&] {
              inner = call_guarded([] { write_to(nullptr); });
              went_on = true;
            }),
            "");
  EXPECT_NE(inner, "");
  EXPECT_TRUE(went_on);
}

TEST_F(CrashGuard, EachThreadHasItsOwn) {
  std::string first, second;
  std::thread a([&] { first = call_guarded([] { write_to(nullptr); }); });
  std::thread b([&] { second = call_guarded([] {}); });
  a.join();
  b.join();
  EXPECT_NE(first, "");
  EXPECT_EQ(second, "");
}

TEST_F(CrashGuardDeathTest, OutsideOfACallACrashEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        call_guarded([] {});
        write_to(nullptr);
      },
      "");
}

}  // namespace
}  // namespace tenon
