#include "machine/chips.h"

namespace tenon {
namespace {

using D = Dimension;
constexpr double kKiB = 1024, kMiB = kKiB * 1024, kGiB = kMiB * 1024;
using A = AscendChip;
using C = CambriconChip;

constexpr NumberField<A> kAscend[] = {
    {"cube_cores", D::count, 1, 1024, &A::cube_cores, "cores with a cube unit"},
    {"vector_cores", D::count, 0, 1024, &A::vector_cores,
     "cores with a vector unit only; 0 where cube cores have it"},
    {"cube_clock", D::frequency, 1e8, 1e10, &A::cube_clock, "clock of the cube cores"},
    {"vector_clock", D::frequency, 1e8, 1e10, &A::vector_clock, "clock of the vector units"},
    {"macs_f16", D::macs_per_cycle, 1, 1e6, &A::macs_f16, "f16 products a cycle and core"},
    {"macs_bf16", D::macs_per_cycle, 0, 1e6, &A::macs_bf16, "bf16 products; 0: none"},
    {"macs_f32", D::macs_per_cycle, 0, 1e6, &A::macs_f32, "f32 products; 0: none"},
    {"macs_i8", D::macs_per_cycle, 1, 1e6, &A::macs_i8, "i8 products"},
    {"macs_i4", D::macs_per_cycle, 0, 1e6, &A::macs_i4, "i4 products; 0: none"},
    {"cube_start", D::cycles, 0, 1e4, &A::cube_start, "before the first product of an instruction"},
    {"vector_bytes", D::bytes, 32, 1 << 16, &A::vector_bytes,
     "what one repeat reads of an operand"},
    {"vector_start", D::cycles, 0, 1e4, &A::vector_start, "before the first repeat"},
    {"vector_drain", D::cycles, 0, 1e4, &A::vector_drain, "after the last repeat"},
    {"vector_repeats", D::count, 1, 1e6, &A::vector_repeats, "at most in an instruction"},
    {"slope_binary", D::cycles, 0.1, 1e3, &A::slope_binary, "a repeat of add, sub, mul, max"},
    {"slope_scalar", D::cycles, 0.1, 1e3, &A::slope_scalar, "a repeat with a scalar operand"},
    {"slope_unary", D::cycles, 0.1, 1e3, &A::slope_unary, "a repeat of relu, abs, copy"},
    {"slope_divide", D::cycles, 0.1, 1e3, &A::slope_divide, "a repeat of a division"},
    {"slope_exp", D::cycles, 0.1, 1e3, &A::slope_exp, "a repeat of exp, ln"},
    {"slope_sqrt", D::cycles, 0.1, 1e3, &A::slope_sqrt, "a repeat of sqrt, rsqrt"},
    {"slope_convert", D::cycles, 0.1, 1e3, &A::slope_convert, "a repeat of a conversion"},
    {"slope_select", D::cycles, 0.1, 1e3, &A::slope_select, "a repeat of a selection"},
    {"slope_reduce", D::cycles, 0.1, 1e3, &A::slope_reduce, "a repeat of a reduction"},
    {"slope_gather", D::cycles, 0.1, 1e3, &A::slope_gather, "a repeat of a gather"},
    {"l0a", D::bytes, kKiB, kMiB, &A::l0a, "left operands of the cube, a core"},
    {"l0b", D::bytes, kKiB, kMiB, &A::l0b, "right operands of the cube, a core"},
    {"l0c", D::bytes, kKiB, kMiB, &A::l0c, "sums of the cube, a core"},
    {"l1", D::bytes, kKiB, 64 * kMiB, &A::l1, "tiles, a core"},
    {"ub", D::bytes, kKiB, 64 * kMiB, &A::ub, "unified buffer of the vector unit, a core"},
    {"bias_table", D::bytes, 0, kMiB, &A::bias_table, "bias beside L0C; 0: none"},
    {"l2", D::bytes, 0, kGiB, &A::l2, "cache of the chip"},
    {"memory", D::bytes, kMiB, 1024 * kGiB, &A::memory, "memory of the chip"},
    {"ddr_read", D::bytes_per_cycle, 0.1, 1e5, &A::ddr_read, "memory to a core"},
    {"ddr_write", D::bytes_per_cycle, 0.1, 1e5, &A::ddr_write, "a core to memory"},
    {"l2_read", D::bytes_per_cycle, 0.1, 1e5, &A::l2_read, "L2 to a core"},
    {"l2_write", D::bytes_per_cycle, 0.1, 1e5, &A::l2_write, "a core to L2"},
    {"l1_to_l0a", D::bytes_per_cycle, 0.1, 1e5, &A::l1_to_l0a, "MTE1, left operands"},
    {"l1_to_l0b", D::bytes_per_cycle, 0.1, 1e5, &A::l1_to_l0b, "MTE1, right operands"},
    {"l1_to_ub", D::bytes_per_cycle, 0.1, 1e5, &A::l1_to_ub, "MTE1 to the vector unit"},
    {"l0c_to_ub", D::bytes_per_cycle, 0.1, 1e5, &A::l0c_to_ub, "sums to the vector unit, or out"},
    {"ub_to_l2", D::bytes_per_cycle, 0.1, 1e5, &A::ub_to_l2, "MTE3 to L2"},
    {"ub_to_ddr", D::bytes_per_cycle, 0.1, 1e5, &A::ub_to_ddr, "MTE3 to memory"},
    {"ub_to_l1", D::bytes_per_cycle, 0.1, 1e5, &A::ub_to_l1, "MTE3 to L1"},
    {"memory_bandwidth", D::bandwidth, 1e9, 1e14, &A::memory_bandwidth, "of the whole chip"},
    {"l2_line", D::bytes, 32, 4096, &A::l2_line, "what the cache loads at once"},
    {"l2_latency", D::cycles, 0, 1e5, &A::l2_latency, "first byte of a copy from L2"},
    {"memory_latency", D::cycles, 0, 1e5, &A::memory_latency, "first byte of a copy from memory"},
    {"fractal", D::bytes, 32, 4096, &A::fractal, "a 16-row block of L0A and L0B"},
    {"block", D::bytes, 1, 4096, &A::block, "alignment in L1 and UB; a row of a fractal"},
    {"full_burst", D::bytes, 32, kMiB, &A::full_burst, "a copy this long has the full rate"},
    {"unaligned_rate", D::factor, 0.01, 1, &A::unaligned_rate,
     "share of the rate when memory is aligned to a block only"},
    {"copy_start", D::cycles, 0, 1e5, &A::copy_start,
     "of a queue, for each copy from or to memory"},
    {"event_ids", D::count, 1, 1024, &A::event_ids, "flags between two queues"},
    {"launch", D::time, 0, 1, &A::launch, "start of one operator"},
    {"host_bandwidth", D::bandwidth, 1e8, 1e13, &A::host_bandwidth, "host to chip"},
    {"power", D::power, 0, 1e4, &A::power, "thermal design power"},
};

constexpr NumberField<C> kCambricon[] = {
    {"clusters", D::count, 1, 1024, &C::clusters, "clusters of the device"},
    {"cores_per_cluster", D::count, 1, 64, &C::cores_per_cluster, "computing cores of a cluster"},
    {"clock", D::frequency, 1e8, 1e10, &C::clock, "clock of the cores"},
    {"macs_i4", D::macs_per_cycle, 0, 1e6, &C::macs_i4, "i4 products a cycle and core; 0: none"},
    {"macs_i8", D::macs_per_cycle, 1, 1e6, &C::macs_i8, "i8 products"},
    {"macs_i16", D::macs_per_cycle, 0, 1e6, &C::macs_i16, "i16 products; 0: none"},
    {"macs_f16", D::macs_per_cycle, 0, 1e6, &C::macs_f16, "f16 products; 0: none"},
    {"macs_bf16", D::macs_per_cycle, 0, 1e6, &C::macs_bf16, "bf16 products; 0: none"},
    {"macs_f32", D::macs_per_cycle, 0, 1e6, &C::macs_f32, "f32 products; 0: none"},
    {"compute_start", D::cycles, 0, 1e4, &C::compute_start, "before an instruction's first result"},
    {"vector_bytes", D::bytes_per_cycle, 1, 1e5, &C::vector_bytes, "what the vector unit takes"},
    {"cost_scalar", D::factor, 0.1, 1e3, &C::cost_scalar, "of a scalar addition, in vector words"},
    {"cost_divide_f16", D::factor, 0.1, 1e3, &C::cost_divide_f16, "of an f16 division"},
    {"cost_divide_f32", D::factor, 0.1, 1e3, &C::cost_divide_f32, "of an f32 division"},
    {"cost_transcendental", D::factor, 0.1, 1e3, &C::cost_transcendental, "of exp, log, tanh, …"},
    {"nram", D::bytes, kKiB, 64 * kMiB, &C::nram, "neurons, a core"},
    {"nram_reserved", D::bytes, 0, 64 * kMiB, &C::nram_reserved, "kept by the vendor's compiler"},
    {"wram", D::bytes, kKiB, 64 * kMiB, &C::wram, "weights, a core"},
    {"sram", D::bytes, 0, kGiB, &C::sram, "shared by a cluster; 0: none"},
    {"sram_reserved", D::bytes, 0, kGiB, &C::sram_reserved, "kept by the vendor's compiler"},
    {"l2", D::bytes, 0, kGiB, &C::l2, "cache of the device; 0: none"},
    {"memory", D::bytes, kMiB, 1024 * kGiB, &C::memory, "memory of the device"},
    {"memory_bandwidth", D::bandwidth, 1e9, 1e14, &C::memory_bandwidth, "of the whole device"},
    {"cluster_bandwidth", D::bandwidth, 1e9, 1e14, &C::cluster_bandwidth, "of one cluster at most"},
    {"io_bytes", D::bytes_per_cycle, 0.1, 1e5, &C::io_bytes,
     "IO queue: memory and on-chip, a core"},
    {"move_bytes", D::bytes_per_cycle, 0.1, 1e5, &C::move_bytes,
     "Move queue: between on-chip memories"},
    {"transaction", D::bytes, 1, 4096, &C::transaction,
     "least that memory moves; less is read first"},
    {"align", D::bytes, 1, 4096, &C::align, "vectors in NRAM"},
    {"wram_align", D::bytes, 1, 4096, &C::wram_align, "weights in WRAM"},
    {"local_tables", D::count, 1, 1024, &C::local_tables, "equal parts of WRAM that products read"},
    {"independent_queues", D::count, 0, 1, &C::independent_queues,
     "1: IO and Move run side by side"},
    {"memory_latency", D::cycles, 0, 1e5, &C::memory_latency, "first byte of a copy from memory"},
    {"copy_start", D::cycles, 0, 1e5, &C::copy_start,
     "of a queue, for each copy from or to memory"},
    {"barrier", D::cycles, 0, 1e6, &C::barrier, "a barrier of a cluster"},
    {"launch", D::time, 0, 1, &C::launch, "start of one operator"},
    {"host_bandwidth", D::bandwidth, 1e8, 1e13, &C::host_bandwidth, "host to device"},
    {"power", D::power, 0, 1e4, &C::power, "thermal design power of the card"},
};

}  // namespace

std::span<const NumberField<AscendChip>> AscendChip::fields() {
  return kAscend;
}
std::span<const NumberField<CambriconChip>> CambriconChip::fields() {
  return kCambricon;
}

}  // namespace tenon
