// The target-independent passes and the pipeline they form.
#pragma once

#include <span>
#include <vector>

#include "rewrite/pass.h"

namespace tenon {

// Evaluates what depends on constants alone, and turns shape arithmetic that inference has solved
// into constants.
Result<bool> fold_constants(Graph& graph, PassContext& context);
// One node for equal ops on equal operands; one constant for equal contents.
Result<bool> eliminate_common_subexpressions(Graph& graph, PassContext& context);
// Connected pointwise ops become `fused` nodes.
Result<bool> fuse_pointwise(Graph& graph, PassContext& context);

// What no pipeline has: what chips have no form of, in terms of what they have. Before the final
// passes; canonicalize where it changed something.
Result<bool> rewrite_for_chips(Graph& graph, PassContext& context);
// Complex values of known sizes as two real ones, Fourier transforms as products.
Result<bool> split_complex(Graph& graph, PassContext& context);
// Unsigned bytes between ops as signed ones, 128 less.
Result<bool> use_signed_bytes(Graph& graph, PassContext& context);
std::span<const Rule> chip_rules();

std::span<const Rule>
simplify_rules();  // identities, casts, reshapes and transposes that do nothing
// Constants that are repeated for every sample.
std::span<const Rule> repeat_rules();
// Reductions over what was stacked for them.
std::span<const Rule> stack_rules();
// Assignments to slices that arrive as scatters.
std::span<const Rule> assignment_rules();
// Operands that change nothing; after recognition, whose patterns have them.
std::span<const Rule> neutral_rules();
std::span<const Rule>
fuse_rules();  // bias, batch normalisation, residual and activation into producers
// Sums of convolutions of one tensor.
std::span<const Rule> branch_rules();
// Padding into convolutions and pools.
std::span<const Rule> padding_rules();

// Norms, activations and softmax written out in small ops.
std::span<const Rule> norm_rules();
std::span<const Rule> recognise_rules();
// Loops that are recurrent layers, and what else loops and branches can do without.
std::span<const Rule> loop_rules();
// Directions of recurrent layers.
std::span<const Rule> sequence_rules();
// Scaled dot-product attention.
std::span<const Rule> attention_rules();
// Products and convolutions in the form that fusions and kernels want.
std::span<const Rule> linear_rules();
// What is left of compound ops that pointwise fusion does better with in parts.
std::span<const Rule> expand_rules();
// Concats of concats, where that spares writing them.
std::span<const Rule> concat_rules();
// Products of dequantised integers as products of integers.
std::span<const Rule> quantized_rules();
// What lies between a dequantisation and a quantisation as work on bytes.
std::span<const Rule> byte_rules();
// Moves transposes down, where they meet and cancel.
std::span<const Rule> transpose_rules();

// Every rule of the groups above.
std::vector<Rule> all_rules();

// All passes by name, in the order of the default pipeline.
std::span<const Pass> all_passes();

// All passes but the final ones, until nothing changes: the graph consists of single ops.
Status canonicalize(Graph& graph, PassContext& context);
// The final passes, once.
Status finish(Graph& graph, PassContext& context);
// Runs the pipeline: canonicalize(), then finish().
Status optimize(Graph& graph, PassContext& context);

}  // namespace tenon
