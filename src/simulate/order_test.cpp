// Programs with one mistake each, and what the simulator says of them.
#include "simulate/simulate_test.h"

namespace tenon::simulate {
namespace {

// Runs and gives the error, or "".
std::string trouble(const std::string& target, const std::string& body, int64_t blocks = 1,
                    ThreadPool* pool = nullptr) {
  std::vector<Bytes> data;
  const Status status = run_text(target, body, data, blocks, pool);
  return status.ok() ? "" : status.error().to_string();
}

void expect_trouble(const std::string& text, const std::string& wanted) {
  EXPECT_NE(text.find(wanted), std::string::npos) << text << "\nwas to have: " << wanted;
}

const std::string kBuffers = "x: input f16 [4096]\ny: output f16 [4096]\n";

// Four tiles through two places, each stage waiting for the one before and after.
std::string pipeline(const std::string& without) {
  std::string text = kBuffers + R"(
    set_flag v -> mte2 #0
    set_flag v -> mte2 #1
    set_flag mte3 -> v #0
    set_flag mte3 -> v #1
    for i0 in 4 {
      wait_flag v -> mte2 #i0 % 2
      mte2: copy ub[i0 % 2 * 2048] f16 (1024:1) <- gm x[i0 * 2048] f16 (1024:1)
      set_flag mte2 -> v #i0 % 2
      wait_flag mte2 -> v #i0 % 2
      wait_flag mte3 -> v #i0 % 2
      v: relu ub[8192 + i0 % 2 * 2048] f16 (1024:1) <- ub[i0 % 2 * 2048] f16 (1024:1)
      set_flag v -> mte2 #i0 % 2
      set_flag v -> mte3 #i0 % 2
      wait_flag v -> mte3 #i0 % 2
      mte3: copy gm y[i0 * 2048] f16 (1024:1) <- ub[8192 + i0 % 2 * 2048] f16 (1024:1)
      set_flag mte3 -> v #i0 % 2
    }
    wait_flag v -> mte2 #0
    wait_flag v -> mte2 #1
    wait_flag mte3 -> v #0
    wait_flag mte3 -> v #1
)";
  // Both the raising and the lowering of a flag go.
  for (size_t at = text.find(without); !without.empty() && at != std::string::npos;
       at = text.find(without)) {
    const size_t begin = text.rfind('\n', at) + 1;
    text.erase(begin, text.find('\n', at) - begin + 1);
  }
  return text;
}

TEST(SimulateOrder, DoubleBuffersNeedEachOfTheirFlags) {
  EXPECT_EQ(trouble("ascend310p3", pipeline("")), "");
  expect_trouble(trouble("ascend310p3", pipeline("mte2 -> v")), "race: bytes 0 to 2048 of ub");
  expect_trouble(trouble("ascend310p3", pipeline("v -> mte3")), "race: bytes 8192 to 10240 of ub");
  expect_trouble(trouble("ascend310p3", pipeline("mte3 -> v")), "race");
  const std::string back = trouble("ascend310p3", pipeline("v -> mte2"));
  expect_trouble(back, "race: bytes 0 to 2048 of ub");
  expect_trouble(back, "in block 0, i0 = 2");
}

TEST(SimulateOrder, TheErrorNamesBothInstructionsAndTheBlock) {
  const std::string text = trouble("ascend310p3", kBuffers + R"(
    mte2: copy ub[0] f16 (16:1) <- gm x[block * 32] f16 (16:1)
    v: relu ub[32] f16 (16:1) <- ub[0] f16 (16:1)
)");
  EXPECT_EQ(text,
            "invalid_model: race: bytes 0 to 32 of ub are touched without waiting for line 4, "
            "'mte2: copy ub[0] f16 (16:1) <- gm x[block * 32] f16 (16:1)': no flag or sync from "
            "mte2 to v orders them\n  at t:5\n"
            "  in v: relu ub[32] f16 (16:1) <- ub[0] f16 (16:1)\n  in block 0");
}

TEST(SimulateOrder, ASyncOrdersAndSoDoesAnotherQueueInBetween) {
  const std::string load = "mte2: copy l1[0] f16 (16:1) <- gm x[0] f16 (16:1)\n";
  const std::string move = "mte1: copy ub[0] f16 (16:1) <- l1[0] f16 (16:1)\n";
  const std::string use = "v: relu ub[32] f16 (16:1) <- ub[0] f16 (16:1)\n";
  EXPECT_EQ(trouble("ascend310p3", kBuffers + load + "sync mte2\n" + move + "sync all\n" + use),
            "");
  expect_trouble(trouble("ascend310p3", kBuffers + load + "sync v\n" + move), "race");
  // mte2 -> mte1 -> v: a write to L1 after that is ordered through both.
  const std::string chain = load + "set_flag mte2 -> mte1 #0\nwait_flag mte2 -> mte1 #0\n" + move +
                            "set_flag mte1 -> v #0\nwait_flag mte1 -> v #0\n" + use;
  const std::string back = "set_flag v -> mte2 #0\nwait_flag v -> mte2 #0\n";
  EXPECT_EQ(trouble("ascend310p3", kBuffers + chain + back + load), "");
  expect_trouble(trouble("ascend310p3", kBuffers + chain + load), "race: bytes 0 to 32 of l1");
}

TEST(SimulateOrder, FlagsAreRaisedOnceAndLoweredOnce) {
  const std::string set = "set_flag v -> mte3 #1\n", wait = "wait_flag v -> mte3 #1\n";
  EXPECT_EQ(trouble("ascend310p3", set + wait), "");
  expect_trouble(trouble("ascend310p3", wait + set), "deadlock: nothing before raises the flag");
  expect_trouble(trouble("ascend310p3", set + set + wait), "the flag is raised already");
  expect_trouble(trouble("ascend310p3", set), "still raised at the end");
  expect_trouble(trouble("ascend310p3", set + wait + set + wait),
                 "may be raised before the wait for its last time is over");
}

TEST(SimulateOrder, WhatNobodyWroteIsNotComputedWith) {
  expect_trouble(trouble("ascend310p3", "v: relu ub[32] f16 (16:1) <- ub[0] f16 (16:1)"),
                 "uninitialised: reads byte 0 of ub");
  const std::string load =
      "x: input f16 [4096]\ny: output f16 [4096]\n"
      "mte2: copy l1[0] f16 (15:1) <- gm x[0] f16 (15:1)\nsync all\n";
  // Moving it along is no harm, using it is.
  const std::string move = load + "mte1: copy ub[0] f16 (16:1) <- l1[0] f16 (16:1)\nsync all\n";
  EXPECT_EQ(trouble("ascend310p3", move), "");
  EXPECT_EQ(trouble("ascend310p3", move + "v: relu ub[0] f16 (15:1) <- ub[0] f16 (15:1)"), "");
  expect_trouble(trouble("ascend310p3", move + "v: relu ub[0] f16 (16:1) <- ub[0] f16 (16:1)"),
                 "uninitialised: reads byte 30 of ub");
  expect_trouble(trouble("ascend310p3", move + "mte3: copy gm y[0] f16 (16:1) <- ub[0] f16 (16:1)"),
                 "uninitialised: reads byte 30 of ub");
  expect_trouble(trouble("mlu370-s4",
                         "y: output f16 [64]\n"
                         "io: copy nram[0] f16 (64:1) <- gdram y[0] f16 (64:1)"),
                 "uninitialised: reads byte 0 of buffer 'y'");
}

TEST(SimulateOrder, WindowsCarryAlongWhatIsMissing) {
  const std::string text = R"(
    x: input f16 [4096]
    mte2: copy l1[0] f16 (3:64, 3:16, 16:1) <- gm x[0] f16 (3:64, 3:16, 16:1)
    mte2: copy l1[4096] f16 (4096:1) <- gm x[0] f16 (4096:1)
    sync all
    mte1: img2col l0a[0] f16 (1:256, 1:256, 16:16, 16:1) <- l1[0] f16 (1:256, 4:64, 4:16, 16:1) {kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0, out_w = 4, first_m = 0, first_k = 0}
    mte1: copy l0b[0] f16 (256:1) <- l1[4096] f16 (256:1)
    sync all
    m: mmad l0c[0] f32 (1:256, 1:256, 16:16, 16:1) <- l0a[0] f16 (1:256, 1:256, 16:16, 16:1), l0b[0] f16 (1:256, 1:256, 16:16, 16:1) {m = )";
  EXPECT_EQ(trouble("ascend310p3", text + "3, k = 16, n = 16, accumulate = 0}"), "");
  expect_trouble(trouble("ascend310p3", text + "4, k = 16, n = 16, accumulate = 0}"),
                 "uninitialised: reads byte 96 of l0a");
  expect_trouble(trouble("ascend310p3", text + "3, k = 16, n = 16, accumulate = 1}"),
                 "uninitialised: reads byte 0 of l0c");
}

TEST(SimulateOrder, BlocksDoNotTouchTheSameBytesOfTheGlobalMemory) {
  ThreadPool pool(2);
  const auto store = [](const std::string& stride) {
    return "x: input f16 [4096]\ny: output f16 [4096]\n"
           "io: copy nram[0] f16 (3:1) <- gdram x[block * 6] f16 (3:1)\n"
           "io: copy gdram y[block * " +
           stride + "] f16 (3:1) <- nram[0] f16 (3:1)\n";
  };
  // Neighbours share granules of the memory, not bytes.
  EXPECT_EQ(trouble("mlu370-s4", store("6"), 24, &pool), "");
  const std::string text = trouble("mlu370-s4", store("4"), 24);
  expect_trouble(text, "race: bytes 4 to 6 of buffer 'y' are also touched by block 0, line 5");
  expect_trouble(text, "no barrier is between them");
}

TEST(SimulateOrder, ABarrierIsBetweenBlocks) {
  ThreadPool pool(2);
  const auto exchange = [](const std::string& between) {
    return "x: input f16 [4096]\ns: scratch f16 [64]\ny: output f16 [64]\n"
           "mte2: copy ub[0] f16 (16:1) <- gm x[block * 32] f16 (16:1)\nsync all\n"
           "mte3: copy gm s[block * 32] f16 (16:1) <- ub[0] f16 (16:1)\n" +
           between +
           "mte2: copy ub[32] f16 (16:1) <- gm s[96 - block * 32] f16 (16:1)\nsync all\n"
           "mte3: copy gm y[block * 32] f16 (16:1) <- ub[32] f16 (16:1)\n";
  };
  EXPECT_EQ(trouble("ascend310p3", exchange("barrier\n"), 4, &pool), "");
  EXPECT_NE(trouble("ascend310p3", exchange("sync all\n"), 4), "");
  expect_trouble(trouble("ascend310p3", "for i0 in block {\n  barrier\n}", 2, &pool), "deadlock");
  // Within a block a queue does not wait for another, either.
  const std::string own =
      "s: scratch f16 [64]\nv: fill ub[0] f16 (16:1) {scalar = 1.0}\nsync all\n"
      "mte3: copy gm s[0] f16 (16:1) <- ub[0] f16 (16:1)\n";
  const std::string again = "mte2: copy ub[32] f16 (16:1) <- gm s[0] f16 (16:1)\n";
  EXPECT_EQ(trouble("ascend310p3", own + "sync mte3\n" + again), "");
  expect_trouble(trouble("ascend310p3", own + again), "no flag or sync orders them");
}

TEST(SimulateOrder, AResultLiesBesideItsOperandsOrExactlyOnOne) {
  const std::string fill = "v: fill ub[0] f16 (256:1) {scalar = 1.0}\n";
  const auto of = [&](const std::string& instruction) {
    return trouble("ascend310p3", fill + "v: " + instruction);
  };
  EXPECT_EQ(of("add ub[0] f16 (64:1) <- ub[0] f16 (64:1), ub[128] f16 (64:1)"), "");
  EXPECT_EQ(of("relu ub[0] f16 (4:16, 8:2) <- ub[0] f16 (4:16, 8:2)"), "");
  // Columns beside columns.
  EXPECT_EQ(of("relu ub[0] f16 (4:32, 16:1) <- ub[32] f16 (4:32, 16:1)"), "");
  EXPECT_EQ(of("relu ub[128] f16 (64:1) <- ub[0] f16 (64:1)"), "");
  const std::string later = of("add ub[0] f16 (64:1) <- ub[128] f16 (64:1), ub[32] f16 (64:1)");
  expect_trouble(later, "overlap: bytes 32 to 128 of ub are written while operand 2 is read");
  expect_trouble(later, "at t:3");
  // Wider elements run over what is still to be read; narrower ones behind it are no better.
  expect_trouble(of("convert ub[0] i32 (64:1) <- ub[0] f16 (64:1) {rounding = 0}"),
                 "overlap: bytes 0 to 128 of ub");
  expect_trouble(of("relu ub[0] f16 (4:16, 8:1) <- ub[0] f16 (4:16, 8:2)"), "overlap");
  expect_trouble(of("relu ub[0] f16 (4:32, 17:1) <- ub[32] f16 (4:32, 17:1)"), "overlap");
  expect_trouble(
      of("add ub[0] f16 (4:16, 16:1) <- ub[0] f16 (4:0, 16:1), ub[256] f16 (4:16, 16:1)"),
      "overlap: bytes 0 to 32 of ub are written while operand 1 is read");
  // Of a row that is reduced, the first element.
  EXPECT_EQ(of("reduce_sum ub[0] f16 (4:16, 1:1) <- ub[0] f16 (4:16, 16:1)"), "");
  expect_trouble(of("reduce_sum ub[0] f16 (4:1, 1:1) <- ub[0] f16 (4:16, 16:1)"), "overlap");
  expect_trouble(of("reduce_sum ub[0] f32 (4:8, 1:1) <- ub[0] f16 (4:16, 16:1)"), "overlap");
  expect_trouble(of("relu ub[256] f16 (4:0, 16:1) <- ub[0] f16 (4:16, 16:1)"),
                 "overlap: bytes 256 to 288 of ub are written by several elements");
  expect_trouble(of("relu ub[256] f16 (4:8, 16:1) <- ub[0] f16 (4:16, 16:1)"),
                 "bytes 272 to 288 of ub are written by several elements");
}

TEST(SimulateOrder, OperandsStayWithinTheirPlaces) {
  const auto program = isa::parse_program(R"(program t target=ascend310p3 blocks=1 {
  v: fill ub[64] f16 (32:1) {scalar = 1.0}
  for i0 in 2 {
    v: relu ub[i0 * 32] f16 (16:1) <- ub[64] f16 (16:1)
  }
})",
                                          chip("ascend310p3"), "test");
  ASSERT_TRUE(program.ok());
  const int ub = *chip("ascend310p3").memory("ub");
  const auto run = [&](const std::vector<isa::Place>& places) -> std::string {
    const Status status = run_program(*program, chip("ascend310p3"), {}, {.places = places});
    return status.ok() ? "" : status.error().to_string();
  };
  EXPECT_EQ(run({{ub, 0, 64}, {ub, 64, 128}}), "");
  // One place of a ring is no part of the next.
  EXPECT_EQ(run({{ub, 0, 32}, {ub, 32, 64}, {ub, 64, 128}}), "");
  const std::string text = run({{ub, 0, 64}, {ub, 64, 96}, {ub, 96, 128}});
  expect_trouble(text, "out of place: operand 0 reaches bytes 64 to 128 of ub");
  expect_trouble(text, "at t:2");
}

// What the verifier cannot prove of intricate loops, running finds.
TEST(SimulateOrder, BoundsAreCheckedAgain) {
  const auto program = isa::parse_program(R"(program t target=ascend310p3 blocks=1 {
  x: input f16 [64]
  for i0 in 3 {
    mte2: copy ub[i0 * 32] f16 (16:1) <- gm x[i0 * 48] f16 (16:2)
  }
  v: relu ub[8] f16 (16:1) <- ub[0] f16 (16:1)
})",
                                          chip("ascend310p3"), "test");
  ASSERT_TRUE(program.ok());
  Bytes x(128);
  const std::vector<GlobalBuffer> buffers{{x}};
  const Status status = run_program(*program, chip("ascend310p3"), buffers);
  ASSERT_FALSE(status.ok());
  expect_trouble(status.error().to_string(),
                 "out of bounds: bytes 96 to 158 of buffer 'x', which has 128");
  const Status bounded = run_program(*program, chip("ascend310p3"), buffers, {.max_work = 20});
  EXPECT_EQ(bounded.error().code, Code::resource_exhausted);
  EXPECT_FALSE(run_program(*program, chip("ascend310p3"), {}).ok());
}

// Only the rows that are written count, and two blocks may not write the same ones.
TEST(SimulateOrder, BlocksScatterToRowsOfTheirOwn) {
  const auto body = [](const std::string& first) {
    return R"(
    x: input f16 [32]
    y: output f16 [32]
    mte2: copy ub[0] f16 (32:1) <- gm x[0] f16 (32:1)
    v: fill ub[128] i32 (2:1) {scalar = 1}
    sync all
    mte3: scatter gm y[0] f16 (2:16, 16:1) <- ub[0] f16 (2:16, 16:1), ub[128] i32 (2:1) {first = )" +
           first + ", accumulate = 0}\n";
  };
  EXPECT_EQ(trouble("ascend310p3", body("block"), 2), "");
  expect_trouble(trouble("ascend310p3", body("0"), 2), "race: bytes 32 to 64 of buffer 'y'");
  expect_trouble(
      trouble("ascend310p3",
              "x: input f16 [16]\ny: output f16 [16]\n"
              "mte2: copy ub[0] f16 (16:1) <- gm x[0] f16 (16:1)\n"
              "v: fill ub[128] i32 (1:1) {scalar = 0}\nsync all\n"
              "mte3: scatter gm y[0] f16 (1:16, 16:1) <- ub[0] f16 (1:16, 16:1), ub[128] "
              "i32 (1:1) {first = 0, accumulate = 1}\n"),
      "uninitialised");
}

}  // namespace
}  // namespace tenon::simulate
