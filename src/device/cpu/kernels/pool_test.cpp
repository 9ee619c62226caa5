#include "device/cpu/kernels/pool.h"

#include "device/cpu/kernels/test_support.h"

namespace tenon::cpu {
namespace {

std::vector<double> reference(const PoolParams& p) {
  std::vector<double> y;
  for (int64_t n = 0; n < p.batch; ++n)
    for (int64_t od = 0; od < p.out[0]; ++od)
      for (int64_t oh = 0; oh < p.out[1]; ++oh)
        for (int64_t ow = 0; ow < p.out[2]; ++ow)
          for (int64_t c = 0; c < p.channels; ++c) {
            double best = -std::numeric_limits<double>::infinity(), sum = 0;
            int64_t inside = 0, padded = 0;
            for (int64_t kd = 0; kd < p.kernel[0]; ++kd)
              for (int64_t kh = 0; kh < p.kernel[1]; ++kh)
                for (int64_t kw = 0; kw < p.kernel[2]; ++kw) {
                  const int64_t at[3] = {od * p.stride[0] - p.pad_begin[0] + kd * p.dilation[0],
                                         oh * p.stride[1] - p.pad_begin[1] + kh * p.dilation[1],
                                         ow * p.stride[2] - p.pad_begin[2] + kw * p.dilation[2]};
                  bool in_x = true, in_pads = true;
                  for (int d = 0; d < 3; ++d) {
                    in_x &= at[d] >= 0 && at[d] < p.in[d];
                    in_pads &= at[d] < p.in[d] + p.pad_end[d];
                  }
                  padded += in_pads;
                  if (!in_x) continue;
                  ++inside;
                  const double v =
                      p.x[(((n * p.in[0] + at[0]) * p.in[1] + at[1]) * p.in[2] + at[2]) *
                              p.channels +
                          c];
                  sum += v;
                  if (v > best || std::isnan(v)) best = v;
                }
            const auto count = static_cast<double>(p.count_include_pad ? padded : inside);
            y.push_back(p.kind == PoolKind::kMax ? best : count == 0 ? 0 : sum / count);
          }
  return y;
}

void check(PoolParams p, int threads) {
  const auto x = random_floats(p.batch * p.in[0] * p.in[1] * p.in[2] * p.channels);
  p.x = x.data();
  const auto expected = reference(p);
  for (const KernelTable* table : tables_under_test()) {
    GuardedFloats y(static_cast<int64_t>(expected.size()));
    p.y = y.data();
    ThreadPool pool(threads);
    pooling(p, pool, *table);
    expect_near(y, expected, 2e-6,
                std::string(table->name) + " kernel " + std::to_string(p.kernel[1]) + "x" +
                    std::to_string(p.kernel[2]) + " of " + std::to_string(p.in[1]) + "x" +
                    std::to_string(p.in[2]));
    GuardedFloats rounded(y.size());
    PoolParams narrow = p;
    narrow.y = rounded.data();
    narrow.narrow_y = true;
    pooling(narrow, pool, *table);
    expect_rounded(rounded, y, table->name);
    const std::vector<BFloat16> bf16(x.begin(), x.end());
    const std::vector<float> wide(bf16.begin(), bf16.end());
    narrow.x = reinterpret_cast<const float*>(bf16.data());
    narrow.narrow_x = true;
    p.x = wide.data();
    pooling(narrow, pool, *table);
    pooling(p, pool, *table);
    expect_rounded(rounded, y, std::string(table->name) + " of bf16");
    p.x = x.data();
  }
}

int64_t pick(std::initializer_list<int64_t> values) {
  std::uniform_int_distribution<size_t> index(0, values.size() - 1);
  return values.begin()[index(test_random())];
}

TEST(Pooling, MatchesNaiveOverRandomCases) {
  for (int i = 0; i < 300; ++i) {
    PoolParams p;
    p.kind = pick({0, 1}) != 0 ? PoolKind::kMax : PoolKind::kAverage;
    p.count_include_pad = pick({0, 1}) != 0;
    p.batch = pick({1, 1, 2});
    p.channels = pick({1, 3, 8, 15, 16, 17, 64, 70});
    for (int d = static_cast<int>(pick({0, 1, 1, 1, 2})); d < 3; ++d) {
      p.in[d] = pick({1, 4, 7, 19});
      p.kernel[d] = pick({1, 2, 3, 5, 7});
      p.stride[d] = pick({1, 2, 3});
      p.dilation[d] = pick({1, 1, 2});
      p.pad_begin[d] = pick({0, 1, 2, 6});
      p.pad_end[d] = pick({0, 1, 2});
      const int64_t room =
          p.in[d] + p.pad_begin[d] + p.pad_end[d] - (p.kernel[d] - 1) * p.dilation[d] - 1;
      // One more than fits, as rounding up gives.
      p.out[d] = room < 0 ? 1 : room / p.stride[d] + 1 + pick({0, 1});
    }
    check(p, static_cast<int>(pick({1, 1, 2, 3})));
    if (HasFatalFailure()) return;
  }
}

TEST(Pooling, WholeImageAndNothing) {
  for (const PoolKind kind : {PoolKind::kMax, PoolKind::kAverage})
    for (const int threads : {1, 2}) {
      PoolParams p;
      p.kind = kind;
      p.in[1] = p.kernel[1] = p.in[2] = p.kernel[2] = 23;
      p.channels = 700;
      check(p, threads);
      p.channels = 0;
      check(p, threads);
      p.channels = 5;
      p.batch = 0;
      check(p, threads);
    }
}

TEST(Pooling, NanPropagates) {
  for (const KernelTable* table : tables_under_test())
    for (int64_t at = 0; at < 3; ++at) {
      std::vector<float> x(3, 1.0f);
      x[static_cast<size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
      float y = 0;
      PoolParams p;
      p.in[2] = p.kernel[2] = 3;
      p.channels = 1;
      p.x = x.data();
      p.y = &y;
      ThreadPool pool(1);
      pooling(p, pool, *table);
      EXPECT_TRUE(std::isnan(y)) << table->name << " " << at;
    }
}

}  // namespace
}  // namespace tenon::cpu
