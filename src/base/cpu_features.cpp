#include "base/cpu_features.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace tenon {
namespace {

uint64_t read_xcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// The system gives the tiles' state only to processes that ask; threads begun later have it too.
bool permit_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

CpuFeatures detect() {
  CpuFeatures f;
  unsigned a = 0, b = 0, c = 0, d = 0;
  // Each costs microseconds on a virtual machine, so that the highest leaf is asked for once.
  unsigned vendor = 0;
  const unsigned highest = __get_cpuid_max(0, &vendor);
  if (highest < 1) return f;
  __cpuid(1, a, b, c, d);
  const unsigned family = ((a >> 8) & 0xf) + ((a >> 20) & 0xff);
  const bool family_25 = vendor == signature_AMD_ebx && family == 0x19;
  f.streams_alone = family_25;
  const bool osxsave = (c & (1u << 27)) != 0;
  const bool fma = (c & (1u << 12)) != 0;
  const bool f16c = (c & (1u << 29)) != 0;
  const uint64_t xcr0 = osxsave ? read_xcr0() : 0;
  const bool ymm = (xcr0 & 0x6) == 0x6;
  const bool zmm = (xcr0 & 0xe6) == 0xe6;
  const bool tiles = (xcr0 & 0x60000) == 0x60000;
  if (highest >= 7) {
    __cpuid_count(7, 0, a, b, c, d);
    const unsigned last_part = a;
    f.avx2_fma = ymm && fma && f16c && (b & (1u << 5)) != 0;
    constexpr unsigned kAvx512 = (1u << 16) | (1u << 17) | (1u << 28) | (1u << 30) | (1u << 31);
    f.avx512 = zmm && (b & kAvx512) == kAvx512;
    f.avx512_vbmi = f.avx512 && (c & (1u << 1)) != 0;
    f.avx512_vnni = f.avx512 && (c & (1u << 11)) != 0;
    f.amx_bf16 = tiles && (d & (1u << 22)) != 0;
    f.amx_int8 = tiles && (d & (1u << 25)) != 0;
    if (last_part >= 1) {
      __cpuid_count(7, 1, a, b, c, d);
      f.avx_vnni = ymm && (a & (1u << 4)) != 0;
      f.avx512_bf16 = f.avx512 && (a & (1u << 5)) != 0;
    }
  }
  if (const long n = sysconf(_SC_LEVEL1_DCACHE_SIZE); n > 0) f.l1d_bytes = static_cast<int>(n);
  if (const long n = sysconf(_SC_LEVEL2_CACHE_SIZE); n > 0) f.l2_bytes = static_cast<int>(n);
  if (const char* limit = std::getenv("TENON_ISA")) {
    const std::string_view name = limit;
    if (name == "avx2" || name == "avx_vnni")
      f.avx512 = f.avx512_vbmi = f.avx512_vnni = f.avx512_bf16 = false;
    if (name == "avx512f") f.avx512_vbmi = f.avx512_vnni = f.avx512_bf16 = false;
    if (name == "avx2" || name == "avx512f") f.avx_vnni = false;
    if (name == "avx2" || name == "avx_vnni" || name == "avx512f" || name == "avx512")
      f.amx_bf16 = f.amx_int8 = false;
  }
  f.wide_products = f.avx512 && !family_25;
  if ((f.amx_bf16 || f.amx_int8) && !permit_tiles()) f.amx_bf16 = f.amx_int8 = false;
  return f;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

namespace {
// When the library is loaded, not while the first model is.
[[maybe_unused]] const CpuFeatures& detected = cpu_features();
}  // namespace

std::string CpuFeatures::to_string() const {
  std::string text;
  const auto add = [&](bool has, const char* name) {
    if (has) text += (text.empty() ? "" : " ") + std::string(name);
  };
  add(avx2_fma, "avx2_fma");
  add(avx512, "avx512");
  add(avx512_vbmi, "avx512_vbmi");
  add(avx512_vnni, "avx512_vnni");
  add(avx512_bf16, "avx512_bf16");
  add(avx_vnni, "avx_vnni");
  add(amx_int8, "amx_int8");
  add(amx_bf16, "amx_bf16");
  return text;
}

std::string processor_name() {
  constexpr unsigned kFirst = 0x80000002, kLast = 0x80000004;
  std::string name;
  for (unsigned leaf = kFirst; leaf <= kLast; ++leaf) {
    unsigned words[4] = {};
    if (__get_cpuid(leaf, &words[0], &words[1], &words[2], &words[3]) == 0) break;
    name.append(reinterpret_cast<const char*>(words), sizeof(words));
  }
  name.resize(std::min(name.size(), name.find('\0')));
  while (name.ends_with(' ')) name.pop_back();
  return name + " (" + cpu_features().to_string() + ")";
}

}  // namespace tenon
