// What Ascend's software spends on layouts: convolutions take maps in blocks of channels, products
// take matrices in fractals, all else rows as they are. Between kernels that take different ones it
// puts kernels that copy (TransData). Our own programs read and write rows everywhere, so this is
// added to their time; nothing of it is computed.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "ir/graph.h"
#include "tensor/dtype.h"

namespace tenon {

enum class DeviceLayout : uint8_t {
  rows,      // as the tensor is: ND, NCHW, NHWC
  maps,      // NC1HWC0: channels in blocks of 32 bytes
  fractals,  // FRACTAL_NZ: blocks of 16 rows by 32 bytes
};

// Copies from one layout to another.
struct LayoutCopies {
  int64_t kernels = 0;
  int64_t bytes = 0;  // read and written, with what fills the last blocks
  void add(const LayoutCopies& other) { kernels += other.kernels, bytes += other.bytes; }
};

// Follows the layouts through a graph, node by node in order.
class DeviceLayouts {
 public:
  // With `product_rows`, copies into the cores make fractals of rows, as on later chips. `real` is
  // what real numbers are on the chip.
  DeviceLayouts(bool product_rows, DType real) : product_rows_(product_rows), real_(real) {}

  // What is copied before the node runs, within it, and after it where it gives maps as a result of
  // the graph. An operand is copied to a layout once, whoever reads it; what the graph is given is
  // in fractals where a product wants it so.
  LayoutCopies enter(const Node& node);
  // Whether it is a concatenation of maps that lie behind each other as they are made: whole blocks
  // of channels of one sample, or of any number where what makes them can leave room between them.
  bool joins_in_place(const Node& node) const;
  // How many times as much of memory the node's maps take as their elements do.
  double filling(const Node& node) const;
  // As it was given.
  DType real() const { return real_; }

 private:
  struct State {
    DeviceLayout first = DeviceLayout::rows;  // what its node gives
    uint8_t made = 0;                         // layouts it is in, as bits
  };
  State& state_of(const Value* value);
  int64_t bytes(const Value* value, DeviceLayout layout) const;
  LayoutCopies bring(const Value* value, DeviceLayout layout);
  bool keeps(const Node& node, DeviceLayout layout) const;
  bool writes_apart(const Value* value) const;
  DeviceLayout taken_by(const Node& node);
  LayoutCopies scores(const Node& node) const;
  void give(const Node& node, DeviceLayout layout);

  bool product_rows_;
  DType real_;
  std::unordered_map<const Value*, State> states_;
};

}  // namespace tenon
