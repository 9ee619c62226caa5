#include "emit/kernel.h"

#include <gtest/gtest.h>

#include <random>

#include "emit/ascend_c.h"
#include "emit/bang_c.h"
#include "emit/simplify.h"
#include "isa/parse_program.h"

namespace tenon::emit {
namespace {

using isa::Expr;

isa::Architecture chip(std::string_view name) {
  const MachineCatalog catalog = MachineCatalog::load().value();
  return isa::architecture_of(**catalog.find(name));
}

isa::Program program(std::string_view text, const isa::Architecture& a) {
  return isa::parse_program(text, a, "test").value();
}

constexpr std::string_view kAscend = R"(program relu algorithm=vector target=ascend910b3 blocks=4 {
  x: input f16 [8000]
  y: output f16 [8000]
  for i0 in (11 - block) / 4 {
    wait_flag mte3 -> mte2 #i0 % 2
    mte2: copy ub[i0 % 2 * 2048] f16 (min(1000, 8000 - (block + i0 * 4) * 1000):1) <- gm x[(block + i0 * 4) * 2000] f16 (min(1000, 8000 - (block + i0 * 4) * 1000):1)
    set_flag mte2 -> v #i0 % 2
    wait_flag mte2 -> v #i0 % 2
    v: relu ub[i0 % 2 * 2048 + 4096] f16 (10:100, 100:1) <- ub[i0 % 2 * 2048] f16 (10:100, 100:1)
    for i1 in 1 {
      v: mul ub[i0 % 2 * 2048 + 4096] f16 (20:48, 40:1) <- ub[i0 % 2 * 2048 + 4096] f16 (20:48, 40:1), ub[8192] f16 (20:1, 40:0)
    }
    set_flag v -> mte3 #i0 % 2
    for i2 in min(block, 1) {
      sync all
    }
    mte3: copy gm y[(block + i0 * 4) * 2000] f16 (10:100, 96:1) <- ub[i0 % 2 * 2048 + 4096] f16 (10:96, 96:1)
  }
}
)";

constexpr std::string_view kAscendKernel =
    R"~(// How the layer is cut: the cores that run it, and where its tiles lie in their memories, in bytes.
struct ReluVectorTiling {
  int32_t blocks = 4;
  int32_t ubBytes = 8256;
  int32_t xUb = 0;
  int32_t yUb = 4096;
  int32_t valuesUb = 8192;
};

extern "C" __global__ __vector__ void relu_vector(GM_ADDR x, GM_ADDR y, ReluVectorTiling tiling) {
  GlobalTensor<half> xGm;
  xGm.SetGlobalBuffer((__gm__ half*)x);
  GlobalTensor<half> yGm;
  yGm.SetGlobalBuffer((__gm__ half*)y);
  TPipe pipe;
  TBuf<TPosition::VECCALC> ub;
  pipe.InitBuffer(ub, tiling.ubBytes);
  LocalTensor<half> xUb = ub.GetWithOffset<half>(2024, tiling.xUb);
  LocalTensor<half> yUb = ub.GetWithOffset<half>(2024, tiling.yUb);
  LocalTensor<half> valuesUb = ub.GetWithOffset<half>(20, tiling.valuesUb);
  const int32_t block = GetBlockIdx();

  for (int32_t i0 = 0; i0 < 2; ++i0) {
    const int32_t offset = (block + i0 * 4) * 1000;
    WaitFlag<HardEvent::MTE3_MTE2>(i0);
    // mte2: load x
    tile::Load(xUb[i0 * 1024], 0, xGm[offset], 0, 1, 1000);
    SetFlag<HardEvent::MTE2_V>(i0);
    WaitFlag<HardEvent::MTE2_V>(i0);
    // v: relu, mul
    Relu(yUb[i0 * 1024], xUb[i0 * 1024], 1000);
    for (int32_t r = 0; r < 20; ++r) {
      tile::Mul(yUb[i0 * 1024 + r * 48], yUb[i0 * 1024 + r * 48], tile::Same(valuesUb[r]), 40);
    }
    SetFlag<HardEvent::V_MTE3>(i0);
    if (block > 0) {
      PipeBarrier<PIPE_ALL>();
    }
    // mte3: store y
    tile::Store(yGm[offset], 100, yUb[i0 * 1024], 96, 10, 96);
  }
}

void launch_relu_vector(GM_ADDR x, GM_ADDR y, void* stream) {
  const ReluVectorTiling tiling;
  TENON_LAUNCH(relu_vector, tiling.blocks, stream)(x, y, tiling);
}
)~";

TEST(Emit, AKernelReadsAsAPersonWouldWriteIt) {
  const auto a = chip("ascend910b3");
  const auto kernel = ascend_c_kernel(program(kAscend, a), a, "relu_vector");
  ASSERT_TRUE(kernel.ok()) << kernel.error().to_string();
  EXPECT_EQ(kernel->text, kAscendKernel);
}

constexpr std::string_view kBang = R"(program scale algorithm=vector target=mlu370-s4 blocks=2 {
  x: input f16 [8192]
  y: output f16 [8192]
  set_flag compute -> io #0
  set_flag compute -> io #1
  for i0 in 2 {
    wait_flag compute -> io #i0
    io: copy nram[i0 * 4096] f16 (32:64, 64:1) <- gdram x[(block + i0 * 2) * 4096] f16 (32:64, 64:1)
    set_flag io -> compute #i0
    wait_flag io -> compute #i0
    compute: exp nram[8192] f16 (32:64, 64:1) <- nram[i0 * 4096] f16 (32:64, 64:1)
    compute: add nram[8192] f16 (32:64, 64:1) <- nram[8192] f16 (32:64, 64:1), nram[i0 * 4096] f16 (32:0, 64:1)
    compute: muls nram[8192] f16 (32:64, 60:1) <- nram[8192] f16 (32:64, 60:1) {scalar = 0.5}
    set_flag compute -> io #i0
    wait_flag compute -> io #i0
    io: copy gdram y[(block + i0 * 2) * 4096] f16 (32:64, 60:1) <- nram[8192] f16 (32:64, 60:1)
    set_flag compute -> io #i0
  }
  wait_flag compute -> io #0
  wait_flag compute -> io #1
}
)";

constexpr std::string_view kBangKernel =
    R"~(// How the layer is cut: the cores that run it, and where its tiles lie in their memories, in bytes.
struct ScaleVectorTiling {
  int32_t blocks = 2;
  int32_t nram_bytes = 12288;
  int32_t x_nram = 0;
  int32_t y_nram = 8192;
};

__mlu_entry__ void scale_vector(half* x, half* y, ScaleVectorTiling tiling) {
  __nram__ int8_t nram[12288];
  half* x_nram = (half*)(nram + tiling.x_nram);
  half* y_nram = (half*)(nram + tiling.y_nram);
  const int32_t block = taskId;

  for (int32_t i0 = 0; i0 < 2; ++i0) {
    const int32_t offset = (block + i0 * 2) * 2048;
    __sync_compute();
    // io: load x
    __memcpy_async(x_nram + i0 * 2048, x + offset, 2048 * sizeof(half), GDRAM2NRAM);
    __sync_io();
    // compute: exp, add, muls
    __bang_active_exp(y_nram, x_nram + i0 * 2048, 2048);
    __bang_cycle_add(y_nram, y_nram, x_nram + i0 * 2048, 2048, 64);
    for (int32_t r = 0; r < 32; ++r) {
      __bang_mul_scalar(y_nram + r * 64, y_nram + r * 64, half(0.5f), 60);
    }
    __sync_compute();
    // io: store y
    __memcpy_async(y + offset, y_nram, 60 * sizeof(half), NRAM2GDRAM, 64 * sizeof(half),
                   64 * sizeof(half), 31);
  }
}

void launch_scale_vector(uint8_t* x, uint8_t* y, cnrtQueue_t queue) {
  const ScaleVectorTiling tiling;
  const cnrtDim3_t dim = {static_cast<uint32_t>(tiling.blocks), 1, 1};
  TENON_LAUNCH(scale_vector, dim, cnrtFuncTypeBlock, queue)((half*)x, (half*)y, tiling);
}
)~";

TEST(Emit, WhoWaitsForAFlagInBangWaitsForTheQueue) {
  const auto a = chip("mlu370-s4");
  const auto kernel = bang_c_kernel(program(kBang, a), a, "scale_vector");
  ASSERT_TRUE(kernel.ok()) << kernel.error().to_string();
  EXPECT_EQ(kernel->text, kBangKernel);
}

TEST(Emit, WhatALanguageHasNoFormForNamesTheLayer) {
  const auto a = chip("ascend910b3");
  isa::Program p = program(kAscend, a);
  p.body.insert(p.body.begin(),
                isa::Instruction{isa::Opcode::conv, 2, {{3, -1, DType::f32, 0, {}}}, {}, 0});
  const auto kernel = ascend_c_kernel(p, a, "relu_vector");
  ASSERT_FALSE(kernel.ok());
  EXPECT_EQ(kernel.error().code, Code::unsupported);
  EXPECT_NE(kernel.error().message.find("'relu'"), std::string::npos) << kernel.error().to_string();
}

Expr random_expr(std::mt19937& random, int depth) {
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  if (depth == 0 || below(4) == 0) {
    if (below(2) == 0) return Expr::variable(below(3));
    static constexpr int64_t kNumbers[] = {0, 1, 2, 3, 4, 8, 16, 15, 100};
    return kNumbers[below(9)];
  }
  const auto kind = static_cast<Expr::Kind>(2 + below(7));
  return Expr::make(kind, random_expr(random, depth - 1), random_expr(random, depth - 1));
}

TEST(Emit, SimplifiedExpressionsHaveTheSameValues) {
  std::mt19937 random(1);
  const Ranges ranges{isa::Range::between(0, 5), isa::Range::between(0, 1), isa::Range::of(0)};
  for (int n = 0; n < 20000; ++n) {
    const Expr e = random_expr(random, 4), s = simplified(e, ranges);
    const Expr eight = e * 8, one = divided(eight, 8);
    for (int64_t block = 0; block <= 5; ++block)
      for (int64_t i = 0; i <= 1; ++i) {
        const int64_t at[] = {block, i, 0};
        ASSERT_EQ(e.at(at), s.at(at)) << e.to_string() << " and " << s.to_string();
        ASSERT_EQ(eight.at(at) / 8, one.at(at)) << e.to_string() << " and " << one.to_string();
      }
  }
}

TEST(Emit, NamesAreWhatCppTakes) {
  Names names;
  EXPECT_EQ(names.unique("block1/conv:0"), "block1_conv_0");
  EXPECT_EQ(names.unique("block1/conv:0"), "block1_conv_0_2");
  EXPECT_EQ(names.unique("3x3"), "layer_3x3");
  EXPECT_EQ(names.unique("for"), "for_");
  EXPECT_EQ(names.unique("\xff\n"), "layer");
  EXPECT_EQ(identifier("StatefulPartitionedCall/functional_1/re_lu_1/Relu_of_what"),
            "functional_1_re_lu_1_Relu_of_what");
  EXPECT_EQ(literal("a\"b\\\n?"), "\"a\\\"b\\\\\\012\\077\"");
  EXPECT_EQ(comment_text("a\nb\\"), "a?b?");
}

}  // namespace
}  // namespace tenon::emit
