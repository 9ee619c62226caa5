#include "kernels/measure.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

namespace tenon::bench {
namespace {

constexpr int kPeakSteps = 2000;

// Twelve independent chains of multiply-adds, in assembly so that they stay in registers.
#define TENON_CHAIN(register) "vfmadd231ps %%" #register ", %%" #register ", %%" #register "\n"
#define TENON_CHAINS(prefix) \
  TENON_CHAIN(prefix##0)     \
  TENON_CHAIN(prefix##1)     \
  TENON_CHAIN(prefix##2)     \
  TENON_CHAIN(prefix##3)     \
  TENON_CHAIN(prefix##4)     \
  TENON_CHAIN(prefix##5)     \
  TENON_CHAIN(prefix##6)     \
  TENON_CHAIN(prefix##7)     \
  TENON_CHAIN(prefix##8) TENON_CHAIN(prefix##9) TENON_CHAIN(prefix##10) TENON_CHAIN(prefix##11)
#define TENON_PEAK_LOOP(prefix)                                                                  \
  asm volatile("vzeroall\n1:\n" TENON_CHAINS(prefix) "dec %0\njnz 1b\nvzeroupper\n"              \
               : "+r"(steps)                                                                     \
               :                                                                                 \
               : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                 "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc")

double seconds_of(const std::function<void()>& body) {
  const double start = now();
  body();
  return now() - start;
}

}  // namespace

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Buffer::Buffer(int64_t floats, float value)
    : data(static_cast<float*>(
          std::aligned_alloc(64, static_cast<size_t>(floats * 4 + 127) / 64 * 64))) {
  for (int64_t i = 0; i < floats; ++i) data[i] = value * static_cast<float>(i % 13 - 6);
}

double peak_gflops(const cpu::KernelTable& table) {
  const double start = now();
  int64_t steps = kPeakSteps;
  if (table.lanes == 16)
    TENON_PEAK_LOOP(zmm);
  else
    TENON_PEAK_LOOP(ymm);
  return 2.0 * table.lanes * 12 * kPeakSteps / (now() - start) / 1e9;
}

Bench::Bench(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (!name.starts_with("--")) {
      std::fprintf(stderr, "%s: an option was expected; the head of the source lists them\n",
                   argv[i]);
      std::exit(2);
    }
    const bool has_value = i + 1 < argc && std::strncmp(argv[i + 1], "--", 2) != 0;
    options_.emplace_back(name, has_value ? argv[++i] : "set");
  }
  filter_ = option("--filter");
  csv_ = flag("--csv");
  if (const std::string s = option("--seconds"); !s.empty()) seconds_ = std::atof(s.c_str());
  pool_ = std::make_unique<ThreadPool>(std::max(1, std::atoi(option("--threads").c_str())));
  for (const cpu::KernelTable* t : cpu::supported_kernel_tables())
    if (option("--isa") == t->name) table_ = t;
  if (csv_)
    std::printf("name,isa,threads,us,gflops,peak_gflops,gbs,copy_gbs,onednn_us\n");
  else
    std::printf("%s, %d threads\n", table_->name, pool_->threads());
}

std::string Bench::option(const std::string& name) const {
  for (const auto& [key, value] : options_)
    if (key == name) return value;
  return {};
}

Times Bench::run(const Case& c) {
  if (c.name.find(filter_) == std::string::npos) return {};
  double best = 1e9, opponent = 1e9, copy = 1e9, peak = 0;
  c.tenon();
  if (c.onednn) c.onednn();
  const double end = now() + seconds_;
  do {
    copy = std::min(copy, seconds_of([&] { std::memcpy(to_.data, from_.data, 64 << 20); }));
    peak = std::max(peak, peak_gflops(*table_) * pool_->threads());
    const double turn = std::min(end, now() + seconds_ / 8);
    c.tenon();  // back into the caches
    for (int i = 0; i < 20 && (i == 0 || now() < turn); ++i)
      best = std::min(best, seconds_of(c.tenon));
    if (!c.onednn) continue;
    const double its_turn = now() + seconds_ / 8;
    c.onednn();
    for (int i = 0; i < 20 && (i == 0 || now() < its_turn); ++i)
      opponent = std::min(opponent, seconds_of(c.onednn));
  } while (now() < end);
  const double gflops = c.flops / best / 1e9, gbs = c.bytes / best / 1e9;
  const double copy_gbs = 2.0 * (64 << 20) / copy / 1e9;
  if (csv_) {
    std::printf("\"%s\",%s,%d,%.3f,%.1f,%.1f,%.1f,%.1f,", c.name.c_str(), table_->name,
                pool_->threads(), best * 1e6, gflops, peak, gbs, copy_gbs);
    std::printf(c.onednn ? "%.3f\n" : "\n", opponent * 1e6);
  } else {
    std::printf("%-52s %10.2f us %8.1f GFLOP/s %5.1f %%  %6.1f GB/s (copy %.1f)", c.name.c_str(),
                best * 1e6, gflops, 100 * gflops / peak, gbs, copy_gbs);
    std::printf(c.onednn ? "  oneDNN %10.2f us, ratio %.2f\n" : "\n", opponent * 1e6,
                opponent / best);
  }
  std::fflush(stdout);
  return {best, c.onednn ? opponent : 0};
}

}  // namespace tenon::bench
