// What recurrent layers have computed before their steps: the products with the inputs, of many
// steps at once, and where they and the state lie.
#pragma once

#include <cstdint>

#include "device/cpu/kernels/recurrent.h"

namespace tenon::cpu {

// Where things are in scratch, in floats, for each direction.
struct Layout {
  int64_t columns = 0;   // gates * hidden
  int64_t steps = 0;     // steps computed ahead
  int64_t ahead = 0;     // [steps, batch, columns]
  int64_t products = 0;  // [batch, columns + hidden]
  int64_t rests = 0;     // [batch, columns], of what rounding leaves; or nothing
  int64_t h = 0;         // [batch, hidden]
  int64_t next_h = 0;    // the same, of the step being computed in parts
  int64_t c = 0;         // [batch, hidden]
  int64_t floats = 0;
  // Of bytes: rows of the state, and of x in a task.
  ByteRows state, input;
};
Layout lay_out(const RecurrentParams& p);

// Of a task of rows of x: their bytes, and room for the products of what rounding leaves.
int64_t input_slot_bytes(const Layout& l);

// x w + bias of `count` steps from `begin` on.
void multiply_inputs(const RecurrentParams& p, const Layout& l, const RecurrentDirection& d,
                     int64_t begin, int64_t count, float* out, ThreadPool& pool, char* slots,
                     const ByteTables& tables);

}  // namespace tenon::cpu
