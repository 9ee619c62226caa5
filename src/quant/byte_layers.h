// Weights of bytes for layers whose products are not of integers by ranges found beforehand.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "quant/weights.h"

namespace tenon::quant {

// The operands of a layer that are weights.
std::vector<int> weights_of(const Node& node);

bool is_recurrent(const Node& node);

// Why a recurrent layer cannot multiply bytes; empty where it can.
Result<std::string> recurrent_refusal(const Node& node);
// A recurrent layer whose weights become i8, and what it multiplies by them when it runs: what
// stands in place of the node, which nobody reads any more. Only where nothing refuses it.
Result<Node*> multiply_recurrent_bytes(Graph& graph, Node& node, bool two_bytes = false);

// What one of a layer's weights becomes.
struct LayerBytes {
  ScaledLayout channels;
  ScaledIntegers values;
};
// All of them in the order of weights_of(); empty where round_weights() and
// multiply_recurrent_bytes() leave any as it is.
Result<std::vector<LayerBytes>> rounded_bytes(const Node& node);

// Weights that become products of bytes and a scale per output channel, and stay f32: files hold
// them in bytes, the arithmetic is as before. Of large tables that are looked up in only the rows
// wanted are made reals. Why not; empty where it was done, or where there is nothing to gain.
Result<std::string> round_weights(Graph& graph, Node& node);

}  // namespace tenon::quant
