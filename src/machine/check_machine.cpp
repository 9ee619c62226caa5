#include "machine/check_machine.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon {
namespace {

class Checker {
 public:
  explicit Checker(const Machine& machine) : machine_(machine) {}

  void require(bool holds, std::string_view key, std::string_view expected) {
    if (holds || failed_) return;
    const auto number = std::find_if(machine_.numbers.begin(), machine_.numbers.end(),
                                     [&](const Number& n) { return n.key == key; });
    if (number == machine_.numbers.end()) return;
    failed_ = invalid_argument(
                  fmt::format("{} = {} {}: {}", key, number->written, number->unit, expected))
                  .at(number->place);
  }
  Status status() && { return failed_ ? Status(std::move(*failed_)) : Status(); }

 private:
  const Machine& machine_;
  std::optional<Error> failed_;
};

bool is_multiple(double value, double of) {
  return of > 0 && value / of == static_cast<double>(static_cast<int64_t>(value / of));
}

void check(const AscendChip& c, Checker& checker) {
  // A fractal of f32 sums is 16 by 16 by 4 bytes.
  constexpr double kSums = 1024;
  checker.require(c.l0a >= c.fractal && is_multiple(c.l0a, c.fractal), "l0a",
                  "is to hold whole fractals");
  checker.require(c.l0b >= c.fractal && is_multiple(c.l0b, c.fractal), "l0b",
                  "is to hold whole fractals");
  checker.require(c.l0c >= kSums && is_multiple(c.l0c, kSums), "l0c",
                  "is to hold whole fractals of sums (1024 bytes)");
  checker.require(c.l1 >= c.l0a + c.l0b, "l1", "is smaller than l0a and l0b together");
  checker.require(is_multiple(c.ub, c.block), "ub", "is to hold whole blocks");
  checker.require(is_multiple(c.fractal, 16 * c.block), "fractal", "is to be 16 blocks");
  checker.require(c.macs_i8 >= c.macs_f16, "macs_i8", "is less than macs_f16");
  checker.require(c.macs_f32 <= c.macs_f16, "macs_f32", "is more than macs_f16");
  checker.require(c.coupling == VectorCoupling::fused || c.vector_cores >= 1, "vector_cores",
                  "there are to be some, as coupling is not fused");
  checker.require(c.l2_read >= c.ddr_read || c.l2 == 0, "l2_read", "is slower than ddr_read");
  checker.require(c.memory > c.l2, "memory", "is smaller than l2");
}

void check(const CambriconChip& c, Checker& checker) {
  checker.require(c.nram_reserved < c.nram, "nram_reserved", "leaves nothing of nram");
  checker.require(c.sram_reserved < c.sram || c.sram == 0, "sram_reserved",
                  "leaves nothing of sram");
  checker.require(is_multiple(c.nram, c.align), "nram", "is to be a multiple of align");
  checker.require(is_multiple(c.wram, c.local_tables * c.wram_align), "wram",
                  "is to be local_tables parts, each a multiple of wram_align");
  checker.require(c.cluster_bandwidth <= c.memory_bandwidth, "cluster_bandwidth",
                  "is more than memory_bandwidth");
  checker.require(c.macs_i4 == 0 || c.macs_i4 >= c.macs_i8, "macs_i4", "is less than macs_i8");
  checker.require(c.memory > c.l2, "memory", "is smaller than l2");
}

}  // namespace

Status check_machine(const Machine& machine) {
  Checker checker(machine);
  std::visit([&](const auto& chip) { check(chip, checker); }, machine.chip);
  return std::move(checker).status();
}

std::vector<Peak> peaks(const Machine& machine) {
  std::vector<Peak> list;
  const auto add = [&](std::string_view dtype, double macs, double cores, double clock) {
    if (macs > 0) list.push_back({dtype, 2 * macs * cores * clock});
  };
  if (const auto* a = std::get_if<AscendChip>(&machine.chip)) {
    for (const auto& [dtype, macs] :
         std::initializer_list<std::pair<std::string_view, double>>{{"f32", a->macs_f32},
                                                                    {"bf16", a->macs_bf16},
                                                                    {"f16", a->macs_f16},
                                                                    {"i8", a->macs_i8},
                                                                    {"i4", a->macs_i4}})
      add(dtype, macs, a->cube_cores, a->cube_clock);
  } else if (const auto* c = std::get_if<CambriconChip>(&machine.chip)) {
    for (const auto& [dtype, macs] :
         std::initializer_list<std::pair<std::string_view, double>>{{"f32", c->macs_f32},
                                                                    {"bf16", c->macs_bf16},
                                                                    {"f16", c->macs_f16},
                                                                    {"i16", c->macs_i16},
                                                                    {"i8", c->macs_i8},
                                                                    {"i4", c->macs_i4}})
      add(dtype, macs, c->clusters * c->cores_per_cluster, c->clock);
  }
  return list;
}

}  // namespace tenon
