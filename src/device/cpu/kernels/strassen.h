// Matrix products by one step of Strassen's algorithm, in Winograd's form: seven products of halves
// of the rows, the columns and what is summed, in the place of eight (N. J. Higham, "Accuracy and
// Stability of Numerical Algorithms", 2nd ed., 23.1). The error is a few times that of the sums
// themselves, relative to the largest rows and columns: rows of A that are not of about one size,
// or not finite, are multiplied as by gemm(), so that no sample of a batch loses by another.
#pragma once

#include "base/cpu_features.h"
#include "device/cpu/kernels/gemm.h"

namespace tenon::cpu {

// Null where it can multiply and is faster than gemm(), else why not: with wide products (see
// CpuFeatures) sums take twice as much of the time. B is packed as for gemm().
const char* strassen_refusal(const GemmParams& p, bool wide = cpu_features().wide_products);
int64_t strassen_scratch_bytes(const GemmParams& p, int threads);
void strassen_gemm(const GemmParams& p, ThreadPool& pool, void* scratch,
                   const KernelTable& table = kernels());

}  // namespace tenon::cpu
