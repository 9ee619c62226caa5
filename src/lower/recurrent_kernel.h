// The kernel of a recurrent layer's steps: what it keeps in the global memory, and its loops.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lower/recurrent.h"
#include "lower/vector_core.h"

namespace tenon::lower {

struct RecurrentTensors {
  int inputs = -1;           // x w + b of all steps, [steps, batch, directions, gates, hidden]
  std::vector<int> weights;  // of the state, per part
};

class RecurrentKernel {
 public:
  RecurrentKernel(Lowering& lowering, const Node& node, const RecurrentLayer& layer,
                  const RecurrentTiling& tiling, RecurrentTensors tensors);
  Status run();
  // Bytes of the vector unit's memory that a tile takes, without the product's own.
  static int64_t vector_bytes(const RecurrentLayer& layer, const RecurrentTiling& tiling,
                              DType real, int64_t slots);

 private:
  // A part of the place that operands of a tile come in through.
  struct Slot {
    int64_t at = 0;
    DType dtype = DType::f16;
  };

  void set_buffers();
  void set_places();
  Slot place(int64_t& used, int64_t elements, DType dtype) const;

  // Sizes of the tile at hand.
  Expr tile_of(const Expr& own) const { return first_tile_ + own * t_.grid; }
  Expr width(const Expr& own) const;
  std::vector<Axis> local_tile(const Expr& own) const;
  std::vector<Axis> global_tile(const Expr& own) const;
  // Element of [directions, batch, hidden] where the tile is.
  Expr state_at(const Expr& own) const;
  View in(const Slot& slot, std::vector<Axis> axes, const Expr& turn) const;
  View out(const Slot& slot, std::vector<Axis> axes, const Expr& turn) const;

  void begin(VectorCode& code);
  void end(VectorCode& code);
  void step(VectorCode& code, const Expr& s);
  void tile(VectorCode& code, size_t part, const Expr& s, const Expr& own);
  void load_tile(size_t part, const Expr& s, const Expr& own, const Expr& turn);
  CellInputs cell_inputs(VectorCode& code, size_t part, const Expr& own, const View& sums,
                         const Expr& turn);
  Expr time(const Expr& s) const;
  // The turn of the rings that tiles go through: one per tile, part and step.
  Expr turn_of(const Expr& s, size_t part, const Expr& own) const;
  // States of even and odd steps have places of their own.
  Expr state_of(const Expr& s) const;

  Lowering& lowering_;
  const Node& node_;
  const RecurrentLayer& l_;
  const RecurrentTiling& t_;
  RecurrentTensors tensors_;
  DType real_;
  VectorCore core_;
  KernelBuilder b_;
  std::unique_ptr<StepProduct> product_;
  std::vector<int> weights_;
  int inputs_ = -1, h0_ = -1, c0_ = -1, lengths_ = -1, counts_ = -1, peepholes_ = -1, bias_ = -1;
  int states_ = -1, cells_ = -1, resets_ = -1, sums_ = -1, y_ = -1, last_h_ = -1, last_c_ = -1;
  Ring in_, out_;
  Slot in_gates_, in_h_, in_c_, in_length_, in_count_, in_peepholes_, in_bias_;
  Slot out_h_, out_c_, out_y_;
  // Of the block and the job it is at.
  Expr first_tile_, own_tiles_, job_, direction_, first_row_, rows_;
  Status status_;
};

}  // namespace tenon::lower
