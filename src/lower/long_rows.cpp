#include "lower/long_rows.h"

#include <limits>

#include "lower/elementwise.h"
#include "lower/gather.h"
#include "lower/reduce.h"
#include "lower/select_rows.h"

namespace tenon::lower {
namespace {

Register number(double x) {
  return {{}, x, nullptr};
}

// Of every row, to a tensor [count] of its own.
Result<int> reduced(Lowering& lowering, const Node& node, const LongRows& rows, Reduction r,
                    DType dtype) {
  r.layer = rows.layer + r.layer;
  r.from = rows.from;
  r.outer = rows.count, r.reduced = rows.width;
  r.to = lowering.scratch(r.layer, dtype, rows.count);
  TRY(add_reduction(lowering, node, r));
  return r.to;
}

// Every element of the rows, with strides for what there is one of per row and per column.
struct EveryElement {
  std::vector<int64_t> all, of_row{1, 0}, of_column{0, 1};
  Elementwise work;

  explicit EveryElement(const LongRows& rows) : all{rows.width, 1} {
    work.dims = {rows.count, rows.width};
    work.strides = all;
    work.operands = {{"x", rows.from, all, 0}};
    work.results = {rows.to};
    work.wide = true;
  }
};

}  // namespace

Status softmax_of_long_rows(Lowering& lowering, const Node& node, const LongRows& rows,
                            bool logarithm, bool hides) {
  const int most =
      TRY(reduced(lowering, node, rows,
                  {.layer = ".max", .kind = Reduction::Kind::max, .finite = true}, DType::f32));
  const int sums = TRY(reduced(lowering, node, rows,
                               {.layer = ".sum", .centre = most, .exponential = true}, DType::f32));
  EveryElement every(rows);
  every.work.operands.push_back({"sum", sums, every.of_row, 0});
  every.work.compute = [=](VectorCode& code,
                           std::span<const Register> in) -> Result<std::vector<Register>> {
    // The logarithm of no sum at all takes nothing off.
    const Register sum =
        hides ? code.binary(Opcode::max, in[1], number(std::numeric_limits<float>::lowest()))
              : in[1];
    const Register y = code.binary(Opcode::sub, code.tile(in[0], DType::f32), sum);
    return std::vector{logarithm ? y : code.unary(Opcode::exp, y)};
  };
  return lower_elementwise(lowering, node, every.work);
}

Status norm_of_long_rows(Lowering& lowering, const Node& node, const LongRows& rows,
                         const LongNorm& norm) {
  const double share = 1 / static_cast<double>(rows.width);
  const int means =
      norm.centred
          ? TRY(reduced(lowering, node, rows, {.layer = ".mean", .scale = share}, DType::f32))
          : -1;
  const int spreads = TRY(reduced(lowering, node, rows,
                                  {.layer = ".variance",
                                   .centre = means,
                                   .square = true,
                                   .scale = share,
                                   .rsqrt_epsilon = norm.epsilon},
                                  DType::f32));
  EveryElement every(rows);
  auto& operands = every.work.operands;
  operands.push_back({"spread", spreads, every.of_row, 0});
  if (means >= 0) operands.push_back({"mean", means, every.of_row, 0});
  if (norm.scale >= 0) operands.push_back({"scale", norm.scale, every.of_column, 0});
  if (norm.bias >= 0) operands.push_back({"bias", norm.bias, every.of_column, 0});
  every.work.compute = [&norm, means](
                           VectorCode& code,
                           std::span<const Register> in) -> Result<std::vector<Register>> {
    size_t next = 2;
    const auto take = [&] { return code.tile(in[next++], DType::f32); };
    Register y = code.tile(in[0], DType::f32);
    if (means >= 0) y = code.binary(Opcode::sub, y, take());
    y = code.binary(Opcode::mul, y, in[1]);
    if (norm.scale >= 0) y = code.binary(Opcode::mul, y, take());
    if (norm.bias >= 0) y = code.binary(Opcode::add, y, take());
    return std::vector{y};
  };
  return lower_elementwise(lowering, node, every.work);
}

Status place_in_long_rows(Lowering& lowering, const Node& node, const LongRows& rows, bool largest,
                          bool last) {
  TRY(check_count(rows.width));
  using K = Reduction::Kind;
  const int best =
      TRY(reduced(lowering, node, rows, {.layer = ".best", .kind = largest ? K::max : K::min},
                  lowering.tensor(rows.from).dtype));
  LongRows places = rows;
  places.to = lowering.scratch(rows.layer + ".places", DType::f32, rows.count * rows.width);
  EveryElement every(places);
  every.work.operands.push_back({"best", best, every.of_row, 0});
  every.work.operands.push_back(
      {"numbers", count_up(lowering, rows.layer + ".numbers", DType::f32, rows.width),
       every.of_column, 0});
  every.work.compute = [largest, last](
                           VectorCode& code,
                           std::span<const Register> in) -> Result<std::vector<Register>> {
    return std::vector{
        numbers_of_best(code, largest, in[0], in[1], in[2], number(last ? -1 : kNoElement))};
  };
  TRY(lower_elementwise(lowering, node, every.work));
  Reduction r;
  r.layer = rows.layer;
  r.kind = last ? K::max : K::min;
  r.from = places.to, r.to = rows.to;
  r.outer = rows.count, r.reduced = rows.width;
  return add_reduction(lowering, node, r);
}

}  // namespace tenon::lower
