// The table of one instruction set.
#include "device/cpu/kernels/isa/isa.h"
#include "device/cpu/kernels/isa/simd.h"

namespace tenon::cpu::TENON_ISA {

const KernelTable& kernel_table() {
  static constinit KernelTable table;
  static const bool filled = [] {
    table.name = kIsaName;
    table.lanes = kLanes;
    fill_gemm(table);
    fill_elementwise(table);
    fill_rows(table);
    fill_recurrent(table);
    fill_spatial(table);
    fill_grouped(table);
    fill_winograd(table);
    return true;
  }();
  (void)filled;
  return table;
}

}  // namespace tenon::cpu::TENON_ISA
