// Times of small programs: causes that add up, long loops that are extrapolated, caches that keep
// what is written.
#include "simulate/timing.h"

#include <numeric>

#include "simulate/simulate_test.h"

namespace tenon::simulate {
namespace {

const Machine& machine(const std::string& name) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  return **catalog.find(name);
}

// Copies and relu of so many tiles in two places, by loops as they are given.
std::string pipeline(const std::string& loops, const std::string& ends, const std::string& turn) {
  const std::string at = "(" + turn + ")", place = at + " % 2";
  return "x: input f16 [1048576]\ny: output f16 [1048576]\n"
         "set_flag v -> mte2 #0\nset_flag v -> mte2 #1\n"
         "set_flag mte3 -> v #0\nset_flag mte3 -> v #1\n" +
         loops + "wait_flag v -> mte2 #" + place + "\nmte2: copy ub[" + place +
         " * 2048] f16 (1024:1) <- gm x[(block * 512 + " + at +
         ") * 1024] f16 (1024:1)\nset_flag mte2 -> v #" + place + "\nwait_flag mte2 -> v #" +
         place + "\nwait_flag mte3 -> v #" + place + "\nv: relu ub[8192 + " + place +
         " * 2048] f16 (1024:1) <- ub[" + place + " * 2048] f16 (1024:1)\nset_flag v -> mte2 #" +
         place + "\nset_flag v -> mte3 #" + place + "\nwait_flag v -> mte3 #" + place +
         "\nmte3: copy gm y[(block * 512 + " + at + ") * 1024] f16 (1024:1) <- ub[8192 + " + place +
         " * 2048] f16 (1024:1)\nset_flag mte3 -> v #" + place + "\n" + ends +
         "wait_flag v -> mte2 #0\nwait_flag v -> mte2 #1\n"
         "wait_flag mte3 -> v #0\nwait_flag mte3 -> v #1\n";
}

KernelTime time_of(const std::string& body) {
  const auto program = isa::parse_program(
      "program t target=ascend310p3 blocks=2 {\n" + body + "}\n", chip("ascend310p3"), "test");
  EXPECT_TRUE(program.ok()) << program.error().to_string();
  TimingModel timing(machine("ascend310p3"), chip("ascend310p3"));
  const std::array<int64_t, 2> addresses{0, 4 << 20};
  auto time = timing.run(*program, addresses);
  EXPECT_TRUE(time.ok()) << time.error().to_string();
  return *time;
}

TEST(Timing, CausesAddUpToTheTime) {
  const KernelTime t = time_of(pipeline("for i0 in 8 {\n", "}\n", "i0"));
  EXPECT_GT(t.seconds, 0);
  EXPECT_NEAR(std::accumulate(t.causes.begin(), t.causes.end(), 0.0), t.seconds, 1e-12);
  EXPECT_GT(
      t.causes[static_cast<size_t>(Cause::memory)] + t.causes[static_cast<size_t>(Cause::port)], 0);
}

TEST(Timing, ALongLoopTakesWhatShortOnesOfTheSameTurnsTake) {
  const KernelTime exact =
      time_of(pipeline("for i0 in 8 {\nfor i1 in 64 {\n", "}\n}\n", "i0 * 64 + i1"));
  const KernelTime skipped = time_of(pipeline("for i0 in 512 {\n", "}\n", "i0"));
  EXPECT_NEAR(skipped.seconds / exact.seconds, 1, 0.01);
  EXPECT_NEAR(static_cast<double>(skipped.read), static_cast<double>(exact.read), 1);
  EXPECT_NEAR(static_cast<double>(skipped.missed) / static_cast<double>(exact.missed), 1, 0.01);
  EXPECT_NEAR(std::accumulate(skipped.causes.begin(), skipped.causes.end(), 0.0), skipped.seconds,
              1e-12);
}

TEST(Timing, AScatterStartsACopyForEachRow) {
  const auto rows_of = [](const std::string& width) {
    const std::string rows = std::to_string(2048 / std::stoi(width));
    return time_of(
        "x: input f16 [2048]\ny: output f16 [2048]\nv: fill ub[0] f16 (2048:1) {scalar = 0}\n"
        "v: fill ub[8192] i32 (" +
        rows + ":1) {scalar = 0}\nsync all\nmte3: scatter gm y[0] f16 (" + rows + ":" + width +
        ", " + width + ":1) <- ub[0] f16 (" + rows + ":" + width + ", " + width +
        ":1), ub[8192] i32 (" + rows + ":1) {first = 0, accumulate = 0}\n");
  };
  const KernelTime whole = rows_of("1024"), single = rows_of("1");
  EXPECT_EQ(whole.written, 2 * 2048 * 2) << "in two blocks";
  EXPECT_EQ(single.written, 2 * 2048 * 32) << "a block of bytes for each element";
  EXPECT_GT(single.seconds, 20 * whole.seconds);
}

TEST(Timing, WhatIsReadBackwardsIsMovedAsWell) {
  const auto moved = [](const std::string& from, const std::string& stride) {
    return time_of(
        "x: input f16 [65536]\ny: output f16 [65536]\nmte2: copy ub[0] f16 (16:64, 64:1)"
        " <- gm x[" +
        from + "] f16 (16:" + stride +
        ", 64:1)\nsync all\nmte3: copy gm y[0] f16 "
        "(1024:1) <- ub[0] f16 (1024:1)\n");
  };
  const KernelTime forwards = moved("0", "1024"), backwards = moved("30720", "-1024");
  EXPECT_EQ(backwards.read, forwards.read);
  EXPECT_GT(backwards.missed, 0);
  EXPECT_EQ(backwards.missed, forwards.missed);
}

// Of an L2 that is no cache.
TEST(Timing, WhatIsInL2IsNotMovedByMemory) {
  const std::string read = "mte2: copy ub[0] f16 (8192:1) <- gm x[0] f16 (8192:1)\nsync all\n";
  const auto program = isa::parse_program(
      "program t target=ascend310 blocks=1 {\nx: input f16 [8192]\ny: output f16 [8192]\n" + read +
          read + "mte3: copy gm y[0] f16 (8192:1) <- ub[0] f16 (8192:1)\n}\n",
      chip("ascend310"), "test");
  ASSERT_TRUE(program.ok()) << program.error().to_string();
  TimingModel timing(machine("ascend310"), chip("ascend310"));
  const std::array<int64_t, 2> addresses{0, 4 << 20};
  const KernelTime far = timing.run(*program, addresses).value();
  const KernelTime near = timing.run(*program, addresses, {true, true}).value();
  EXPECT_EQ(far.missed, 16384) << "tiles share it, and what is written is in L1 still";
  EXPECT_EQ(near.missed, 0);
  EXPECT_LT(near.seconds, far.seconds);
}

TEST(Cache, WhatIsWrittenReachesMemoryWhenItHasToGo) {
  Cache cache(64 * 1024);
  EXPECT_EQ(cache.access(0, 32768, true).bytes(), 0);
  EXPECT_EQ(cache.access(0, 32768, false).bytes(), 0) << "it is there";
  EXPECT_EQ(cache.access(1 << 20, 32768, false).bytes(), 32768);
  EXPECT_EQ(cache.access(2 << 20, 32768, false).bytes(), 65536) << "what was written goes";
  EXPECT_EQ(cache.access(3 << 20, 32768, false).bytes(), 32768) << "what was read goes for nothing";
}

// Strides within a chunk and across chunks, runs that end in the next, a cache that overflows.
TEST(Cache, RunsAreAsOneAfterTheOther) {
  Cache at_once(256 * 1024), apart(256 * 1024);
  uint64_t random = 1;
  const auto draw = [&](uint64_t below) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return static_cast<int64_t>((random >> 33) % below);
  };
  int64_t all = 0;
  for (int i = 0; i < 2000; ++i) {
    const int64_t address = draw(1 << 20), bytes = 1 + draw(3000), stride = bytes + draw(4000);
    const int64_t count = 1 + draw(20);
    const bool writes = draw(2) != 0;
    int64_t moved = 0;
    for (int64_t n = 0; n < count; ++n)
      moved += apart.access(address + n * stride, bytes, writes).bytes();
    ASSERT_EQ(at_once.access_runs(address, bytes, count, stride, writes).bytes(), moved) << i;
    all += moved;
  }
  EXPECT_GT(all, 0);
}

}  // namespace
}  // namespace tenon::simulate
