// The lowering of products for the cube of Ascend chips, in two files: tiles come in
// (product_ascend.cpp), are multiplied and go out (ascend_tile.cpp).
#pragma once

#include "lower/ascend_tiling.h"
#include "lower/pack.h"
#include "lower/vector_code.h"

namespace tenon::lower {

class AscendProduct {
 public:
  static constexpr int64_t kN0 = 16;  // rows and columns of a fractal of L0C

  AscendProduct(Lowering& lowering, const Node& node, const Product& p)
      : lowering_(lowering),
        node_(node),
        p_(p),
        shape_(p, p.operand_dtype(lowering.real())),
        real_(p.operand_dtype(lowering.real())),
        work_(p.work_dtype(lowering.real())),
        added_(p.added_dtype(lowering.real())),
        out_dtype_(lowering.tensor(p.y).dtype),
        builder_(lowering, p.layer,
                 !p.algorithm.empty() ? p.algorithm
                 : p.windows          ? "img2col"
                                      : "matmul"),
        direct_(!lowering.architecture().queue("fix").has_value()) {}

  Status run();

 private:
  // Counts the instructions and temporary tiles that finishing a tile takes.
  void measure_epilogue();

  void set_sizes();

  FractalShape fractals() const;

  void set_buffers();

  void set_places();

  void build();

  template <typename Load>
  void load_kept(const Ring& ring, const Expr& turn, const Load& load) {
    ring.enter(0, turn);
    builder_.loop(chunks_, load);
    ring.leave(0, turn);
    ring.enter(1, turn);
  }

  // Rows that no copy writes are read with their fractals: they hold zeros.
  void clear_places();

  int64_t work_size() const { return static_cast<int64_t>(dtype_size(work_)); }
  int64_t added_size() const { return static_cast<int64_t>(dtype_size(added_)); }
  int64_t out_size() const { return static_cast<int64_t>(dtype_size(out_dtype_)); }

  // The part of k that chunk c has, in elements with the padding.
  Expr chunk_k(const Expr& c) const { return min(t_.chunk, Expr(shape_.k_plane) - c * t_.chunk); }
  Expr first_row(const Expr& mi) const { return mi % tiles_m_ * t_.m; }
  Expr rows(const Expr& mi) const { return min(t_.m, Expr(p_.rows) - first_row(mi)); }
  Expr columns(const Expr& ni) const { return min(t_.n, Expr(p_.columns) - ni * t_.n); }

  // Rows [k1][row][c0] of a row-major matrix: `count` rows from element `from`, k of them.
  void load_rows(int buffer, const Expr& from, int64_t row_stride, const Expr& count,
                 int64_t place_rows, const Ring& ring, const Expr& place, const Expr& k);

  // Chunk c of the kernel's plane `kd`, into L1.
  void load_a(const Expr& mi, const Expr& kd, const Expr& c, const Expr& turn);

  // The depth of the output pixels, times the stride.
  Expr image_plane(const Expr& mi) const;
  Expr first_output_row(const Expr& mi) const { return first_row(mi) / p_.windows->out_width; }
  Expr first_image_row(const Expr& mi) const;
  Expr image_rows(const Expr& mi) const;

  void load_b(const Expr& ni, const Expr& problem, const Expr& kd, const Expr& c, const Expr& turn);

  // One tile of the result: row tile mi (of all problems), column tile ni.
  void compute(const Expr& mi, const Expr& ni, const Expr& turn, const Expr& outer);

  // One step of k of a tile: L1 to L0, and the product.
  void multiply(const Expr& mi, const Expr& ni, const Expr& c, const Expr& s, const Expr& turn,
                const Expr& a_turn, const Expr& b_turn, const Expr& accumulate,
                const Expr& acc_turn);
  // Sums through the vector unit to memory; or as they are, where the unit is another core's.
  void finish(const Expr& mi, const Expr& ni, const Expr& turn);
  void store_sums(const Expr& mi, const Expr& ni, const Expr& turn);

  Lowering& lowering_;
  const Node& node_;
  const Product& p_;
  AscendShape shape_;
  // Of operands, on the vector unit, of what is added there, of the result.
  DType real_, work_, added_, out_dtype_;
  KernelBuilder builder_;
  bool direct_;  // sums go to the vector unit of the same core
  AscendTiling t_;
  int temporaries_ = 0;
  int64_t tiles_m_ = 1, tiles_n_ = 1, chunks_ = 1, steps_ = 1, piece_ = 1;
  int64_t a_place_ = 0, b_place_ = 0, b_block_ = 0;
  Expr row_, column_, own_m_, own_n_;
  int a_ = -1, b_ = -1, bias_ = -1, scale_ = -1, residual_ = -1, y_ = -1;
  Ring a1_, b1_, a0_, b0_, acc_, out_, bias_ring_, residual_ring_;
  std::optional<VectorCode> code_;
};

}  // namespace tenon::lower
