// What the processor offers, asked once. Kernels are chosen by this at load.
#pragma once

#include <string>

namespace tenon {

struct CpuFeatures {
  bool avx2_fma = false;  // AVX2 + FMA + F16C: the baseline (x86-64-v3)
  bool avx512 = false;    // F, BW, DQ, VL, CD and the system saves the registers
  bool avx512_vbmi = false;
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool avx_vnni = false;
  bool amx_int8 = false;
  bool amx_bf16 = false;
  // Streams from beyond L2 are read faster without fetching ahead by hand: AMD's family 25.
  bool streams_alone = false;
  // More than one vector of 16 floats is multiplied a cycle: AVX-512 but on AMD's family 25.
  bool wide_products = false;
  int l1d_bytes = 32 << 10;
  int l2_bytes = 1 << 20;

  // "avx2_fma avx512 …"
  std::string to_string() const;
};

// The features of this processor, limited by the environment variable TENON_ISA
// (avx2 | avx_vnni | avx512f, which has no VNNI | avx512, which has no AMX), so that a lower path
// can be tried on a newer machine. Thread-safe.
const CpuFeatures& cpu_features();

// The processor's own name and the features in use: where it is the same, what was measured holds.
std::string processor_name();

}  // namespace tenon
