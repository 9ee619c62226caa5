// Recurrent layers: the inputs of all steps are one product; then one kernel goes through the
// steps, each a product of the state and the gates' arithmetic. Cores share the hidden units out,
// and the state of a step goes through the global memory, with a barrier after it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "lower/lowering.h"
#include "lower/vector_code.h"

namespace tenon::lower {

// LSTM, GRU and the plain cell in the same terms.
struct RecurrentLayer {
  enum class Cell : uint8_t { lstm, gru, rnn };
  struct Function {
    ActivationKind kind = ActivationKind::none;
    double alpha = 0, beta = 0;
  };
  Cell cell = Cell::rnn;
  int64_t steps = 1, batch = 1, inputs = 1, hidden = 1, directions = 1;
  bool reverse = false;  // the first direction; a second is
  bool hold = false, linear_before_reset = false;
  double clip = 0;
  std::vector<Function> functions;  // f, g, h as the cell has them
  // Operands, null where left out.
  const Value *x = nullptr, *w = nullptr, *r = nullptr, *b = nullptr, *rb = nullptr,
              *lengths = nullptr, *h0 = nullptr, *c0 = nullptr, *p = nullptr;
  // Of weights of bytes: chips multiply the numbers they stand for, by inputs as they are.
  Tensor w_scale, r_scale;

  int64_t gates() const { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
  bool has_cell_state() const { return cell == Cell::lstm; }
  // How many gates each product of a step is for: that of the reset state comes after its gate.
  std::vector<int64_t> parts() const {
    if (cell == Cell::gru && !linear_before_reset) return {2, 1};
    return {gates()};
  }
};

// How the steps are shared out. A tile is `rows` sequences by `width` hidden units.
struct RecurrentTiling {
  int64_t rows = 1, width = 16;
  int64_t tiles = 1;             // of the hidden units
  int64_t row_tiles = 1;         // of the batch
  int64_t groups = 1, grid = 1;  // groups of blocks for directions and row tiles, blocks in each
  int64_t k = 16, chunk = 16;    // depth of the product, padded, and what comes in at once
  bool resident = false;         // a core's weights stay on it
  double seconds = 0;            // estimated, of all steps

  int64_t own_tiles() const { return (tiles + grid - 1) / grid; }
};

// What gates are computed from: tiles in the vector unit's memory.
struct CellInputs {
  std::vector<Register> sums;    // of the state's product, per gate of the part
  std::vector<Register> inputs;  // of the input's product, per gate of the layer
  Register h, c;                 // the state before; of a GRU's second part, c is the update gate
  std::optional<Register> valid;
  std::vector<Register> peepholes;  // i, o, f
  std::optional<Register> bias;     // of a GRU's candidate, inside the reset
};
struct CellResults {
  Register h, c, y;  // y as h, but for sequences that have ended
};
// The state after a step; of a GRU's first part, h is the reset state and c the update gate.
Result<CellResults> compute_cell(VectorCode& code, const RecurrentLayer& layer, size_t part,
                                 const CellInputs& in);

// The product of one step on one family: state by weights, tile by tile.
class StepProduct {
 public:
  StepProduct() = default;
  StepProduct(const StepProduct&) = delete;
  StepProduct& operator=(const StepProduct&) = delete;
  virtual ~StepProduct() = default;
  // The weights of all own tiles of a direction, if they stay; `turn` counts the calls.
  virtual void load_weights(const Expr& direction, const Expr& own_tiles, const Expr& turn) = 0;
  virtual void release_weights(const Expr& turn) = 0;
  // The state's rows, from element `from` of a buffer.
  virtual void load_state(int buffer, const Expr& from, const Expr& rows, const Expr& turn) = 0;
  virtual void release_state(const Expr& turn) = 0;
  // Sums of a tile, f32 [rows, gates of the part * width], for the vector unit until release().
  virtual View multiply(size_t part, const Expr& direction, const Expr& own, const Expr& rows,
                        const Expr& state_turn, const Expr& weights_turn, const Expr& turn) = 0;
  virtual void release(const Expr& turn) = 0;
};

// Tiles that a block has: `own` counts them.
struct StepContext {
  ProgramBuilder& builder;
  const RecurrentLayer& layer;
  const RecurrentTiling& tiling;
  DType real;
  std::vector<int> weights;  // buffers, per part
  int sums = -1;             // buffer that sums pass through, where no other way is
  Expr first_tile;           // of the block; the others are tiling.grid further each
};
std::unique_ptr<StepProduct> make_ascend_step(const StepContext& context);
std::unique_ptr<StepProduct> make_cambricon_step(const StepContext& context);

// Sizes that a family's product asks for.
struct StepRules {
  int64_t unit = 16;  // widths and depths are multiples of it
  int64_t most_columns = 512;
  bool is_cambricon = false;
};
StepRules step_rules(const Machine& machine, DType real);
// Whether the product has room; sets chunk and resident.
bool step_fits(const Machine& machine, const RecurrentLayer& layer, DType real, RecurrentTiling& t);
// Elements of a part's weights for one tile.
int64_t step_block(const RecurrentLayer& layer, const RecurrentTiling& t, size_t part);

}  // namespace tenon::lower
