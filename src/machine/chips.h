// The two families of chips as plain numbers in base units (bytes, hertz, seconds, …): what
// lowering, simulators and predictions compute with. Where a number is from stands in the Machine
// it was read from (machine.h). Each family's list of numbers is `fields()`: key in the file, unit,
// bounds, meaning; nothing else names them.
#pragma once

#include <span>
#include <string_view>

#include "machine/quantity.h"

namespace tenon {

template <typename Chip>
struct NumberField {
  std::string_view key;
  Dimension dimension;
  double min, max;  // in the base unit, both allowed
  double Chip::*member;
  std::string_view doc;
};

// How cube and vector units stand to each other.
enum class VectorCoupling {
  fused,      // one core has both; results go from L0C to UB directly (310, 910A)
  auxiliary,  // as fused, and vector cores beside them (310P)
  split,      // cores of their own that meet in L2 (910B)
};

// One Ascend chip: AI cores of a cube and a vector unit over L1, L0A, L0B, L0C and UB.
struct AscendChip {
  static constexpr std::string_view family = "ascend";

  double cube_cores, vector_cores;
  double cube_clock, vector_clock;
  double macs_f16, macs_bf16, macs_f32, macs_i8, macs_i4;
  double cube_start;
  double vector_bytes, vector_start, vector_drain, vector_repeats;
  double slope_binary, slope_scalar, slope_unary, slope_divide, slope_exp, slope_sqrt,
      slope_convert, slope_select, slope_reduce, slope_gather;
  double l0a, l0b, l0c, l1, ub, bias_table, l2, l2_pages, memory;
  double ddr_read, ddr_write, l2_read, l2_write;
  double l1_to_l0a, l1_to_l0b, l1_to_ub, l0c_to_ub, ub_to_l2, ub_to_ddr, ub_to_l1;
  double memory_bandwidth, l2_line, l2_latency, memory_latency;
  double fractal, block, full_burst, unaligned_rate, copy_start;
  double product_rate, vector_rate, reduce_rate, move_rate, port_rate, memory_rate, layout_rate;
  double product_rows;
  double event_ids;
  double barrier, launch, run_start, host_bandwidth, power;
  double low_f16, high_f16, low_f32, high_f32, low_i8, high_i8;
  VectorCoupling coupling = VectorCoupling::fused;

  static std::span<const NumberField<AscendChip>> fields();
};

// One Cambricon device: clusters of cores with NRAM and WRAM around a shared SRAM.
struct CambriconChip {
  static constexpr std::string_view family = "cambricon";

  double clusters, cores_per_cluster;
  double clock;
  double macs_i4, macs_i8, macs_i16, macs_f16, macs_bf16, macs_f32;
  double compute_start;
  double vector_bytes, cost_scalar, cost_divide_f16, cost_divide_f32, cost_transcendental;
  double nram, nram_reserved, wram, sram, sram_reserved, l2, memory;
  double memory_bandwidth, cluster_bandwidth, io_bytes, move_bytes;
  double transaction, align, wram_align, local_tables;
  double independent_queues;
  double product_rate, product_rate_f16, crowded_rate, vector_rate, memory_rate, split_time;
  double memory_latency, copy_start, barrier, launch, host_bandwidth, power;
  double low_f16, high_f16, low_f32, high_f32, low_i8, high_i8;

  static std::span<const NumberField<CambriconChip>> fields();
};

}  // namespace tenon
