#include "predict/layouts.h"

#include <algorithm>
#include <string_view>

#include "lower/lowering.h"
#include "ops/attention.h"
#include "ops/concat.h"
#include "ops/conv.h"
#include "ops/transpose.h"

namespace tenon {
namespace {

constexpr int64_t kRows = 16, kBlock = 32;  // of a fractal; bytes of its rows, and of a block
constexpr int64_t kImage = 4;               // channels of an image at most

constexpr uint8_t bit_of(DeviceLayout layout) {
  return static_cast<uint8_t>(1 << static_cast<int>(layout));
}
constexpr uint8_t kRowsBit = bit_of(DeviceLayout::rows), kMapsBit = bit_of(DeviceLayout::maps);

int64_t up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

template <size_t N>
bool is_one_of(const Node& node, const std::string_view (&names)[N]) {
  return std::ranges::find(names, node.def().name) != std::end(names);
}

// What works on images, and so on maps.
constexpr std::string_view kMaps[] = {"conv",     "conv_transpose", "quantized_conv",
                                      "max_pool", "avg_pool",       "max_pool_index",
                                      "lrn",      "instance_norm",  "roi_align"};
constexpr std::string_view kProducts[] = {
    "matmul", "matmul_nbits", "quantized_matmul", "attention", "lstm", "gru", "rnn"};
constexpr std::string_view kReductions[] = {"sum",        "mean", "reduce_max",
                                            "reduce_min", "any",  "all"};
// What may leave a layout as it is, depending on sizes.
constexpr std::string_view kMovement[] = {"concat",        "split", "slice",
                                          "strided_slice", "pad",   "resize"};
constexpr std::string_view kRowwise[] = {"softmax", "log_softmax", "layer_norm", "rms_norm"};

bool is_pointwise_node(const Node& node) {
  return node.is("fused") || node.def().has(kPointwise);
}

// An operand that is there while the model is loaded is in the layout that suits.
bool is_constant(const Value* value) {
  return value->constant() != nullptr ||
         (value->producer() != nullptr && value->producer()->is("const"));
}

std::vector<int64_t> sizes(const Value* value) {
  return value->shape().ranked() && value->shape().is_static() ? lower::dims_of(value)
                                                               : std::vector<int64_t>{};
}

int64_t last(const std::vector<int64_t>& dims, size_t from_end) {
  return dims.size() > from_end ? dims[dims.size() - 1 - from_end] : 1;
}

// Whether matrices of these sizes fill their fractals.
bool is_full(const std::vector<int64_t>& dims) {
  return last(dims, 0) % kRows == 0 && last(dims, 1) % kRows == 0;
}

// Images, or the volumes of a batch: what comes before rows, columns and channels.
int64_t samples(const std::vector<int64_t>& dims) {
  const size_t of_map = std::min<size_t>(dims.size(), 3);
  return dims.size() < 4 ? (dims.empty() ? 1 : dims[0])
                         : lower::count_of(std::span(dims).first(dims.size() - of_map));
}

// Whether a view of images has the same images, in another number of batch dimensions.
bool keeps_images(const std::vector<int64_t>& before, const std::vector<int64_t>& after) {
  if (before == after) return true;
  return before.size() >= 4 && after.size() >= 4 &&
         std::equal(before.end() - 3, before.end(), after.end() - 3);
}

// Whether a transposition moves channels from behind the batch to the end, or back to there:
// samples may be counted in several dimensions.
bool moves_channels(const Node& node, bool to_end) {
  const auto* op = node.as<Transpose>();
  if (op == nullptr || op->perm.size() < 3) return false;
  const auto n = static_cast<int64_t>(op->perm.size());
  int64_t batch = 0;
  while (batch < n && op->perm[static_cast<size_t>(batch)] == batch) ++batch;
  const int64_t of_map = n - batch;
  if (batch == 0 || of_map < 2) return false;
  for (int64_t i = 0; i < of_map; ++i) {
    const int64_t from = batch + (to_end ? i + 1 : i + of_map - 1) % of_map;
    if (op->perm[static_cast<size_t>(batch + i)] != from) return false;
  }
  return true;
}

// Whether they are moved from one to the other as whole fractals: heads that are taken apart or put
// together have fewer rows than that, one way or the other.
bool stay_full(const std::vector<int64_t>& before, const std::vector<int64_t>& after) {
  return last(before, 0) % kRows == 0 && last(after, 0) % kRows == 0 &&
         (is_full(before) || is_full(after));
}

}  // namespace

int64_t DeviceLayouts::bytes(const Value* value, DeviceLayout layout) const {
  const auto size =
      static_cast<int64_t>(dtype_size(lower::Lowering::device_dtype(value->dtype(), real_)));
  std::vector<int64_t> dims = sizes(value);
  if (dims.empty()) return size;
  if (layout != DeviceLayout::rows) dims.back() = up(dims.back(), kBlock / size);
  if (layout == DeviceLayout::fractals && dims.size() > 1) {
    // Rows are positions; heads and parts, fewer than a fractal's rows, lie in front of these.
    size_t row = dims.size() - 2;
    while (row > 1 && dims[row] < kRows) --row;
    if (dims[row] < kRows) row = dims.size() - 2;
    dims[row] = up(dims[row], kRows);
  }
  return size * lower::count_of(dims);
}

DeviceLayouts::State& DeviceLayouts::state_of(const Value* value) {
  const auto [at, fresh] = states_.try_emplace(value);
  State& state = at->second;
  if (!fresh) return state;
  state.made = kRowsBit;
  const Node* node = value->producer();
  const bool is_view = node != nullptr && (node->def().has(kView) || node->is("identity"));
  if (!is_view || is_constant(value)) return state;
  // Another shape of what is in a layout.
  const DeviceLayout inner = state_of(node->input(0)).first;
  const auto before = sizes(node->input(0)), after = sizes(value);
  const bool same =
      inner == DeviceLayout::fractals ? stay_full(before, after) : keeps_images(before, after);
  if (inner != DeviceLayout::rows) {
    state.made = same ? bit_of(inner) : 0;
    state.first = same ? inner : DeviceLayout::rows;
  }
  return state;
}

// The value in a layout; it is made of rows, or rows are made of it, or both.
LayoutCopies DeviceLayouts::bring(const Value* value, DeviceLayout layout) {
  LayoutCopies copies;
  State& state = state_of(value);
  const uint8_t bit = bit_of(layout);
  if ((state.made & bit) != 0) return copies;
  // Who calls a product gives it operands as it takes them.
  if (value->producer() == nullptr && layout == DeviceLayout::fractals) return copies;
  const auto pass = [&](DeviceLayout from, DeviceLayout to) {
    int64_t moved = bytes(value, from) + bytes(value, to);
    // Images have a layout of their own, with four channels (NC1HWC0_C04).
    const int64_t channels = last(sizes(value), 0);
    if (to == DeviceLayout::maps && channels <= kImage)
      moved = bytes(value, from) + bytes(value, from) / channels * kImage;
    copies.add({1, moved});
  };
  if ((state.made & kRowsBit) == 0) {
    const Node* node = value->producer();
    if (state.made == 0)  // a view of what is in no rows yet
      copies.add(bring(node->input(0), DeviceLayout::rows));
    else
      pass(state.first, DeviceLayout::rows);
  }
  if (layout != DeviceLayout::rows) pass(DeviceLayout::rows, layout);
  state.made |= static_cast<uint8_t>(bit | kRowsBit);
  return copies;
}

// Whether a node that moves or reduces works on this layout of its first operand.
bool DeviceLayouts::keeps(const Node& node, DeviceLayout layout) const {
  const auto in = sizes(node.input(0)), out = sizes(node.output());
  if (layout == DeviceLayout::rows) return true;
  if (is_one_of(node, kRowwise)) return layout == DeviceLayout::fractals && is_full(in);
  if (node.is("transpose")) return layout == DeviceLayout::fractals && stay_full(in, out);
  if (layout != DeviceLayout::maps) return false;
  if (is_one_of(node, kReductions)) return last(out, 0) == last(in, 0);
  // Along channels only whole blocks.
  const int64_t block = kBlock / static_cast<int64_t>(dtype_size(real_));
  const auto whole = [&](const Value* v) { return last(sizes(v), 0) % block == 0; };
  if (node.is("concat")) {
    const int64_t axis = node.as<Concat>()->axis;
    if (axis >= 0 ? axis + 1 < std::ssize(in) : axis != -1) return true;
    return std::ranges::all_of(node.inputs(), whole);
  }
  bool same = true;
  for (int i = 0; i < node.output_count(); ++i)
    same &= last(sizes(node.output(i)), 0) == last(in, 0) ||
            (whole(node.input(0)) && whole(node.output(i)));
  return same;
}

DeviceLayout DeviceLayouts::taken_by(const Node& node) {
  if (is_one_of(node, kMaps)) return DeviceLayout::maps;
  if (is_one_of(node, kProducts))
    return product_rows_ ? DeviceLayout::rows : DeviceLayout::fractals;
  if (is_pointwise_node(node)) {
    // That of the largest operand.
    const Value* most = nullptr;
    for (const Value* v : node.inputs())
      if (v != nullptr && !is_constant(v) &&
          (most == nullptr || bytes(v, DeviceLayout::rows) > bytes(most, DeviceLayout::rows) ||
           (bytes(v, DeviceLayout::rows) == bytes(most, DeviceLayout::rows) &&
            state_of(most).first == DeviceLayout::rows)))
        most = v;
    return most == nullptr ? DeviceLayout::rows : state_of(most).first;
  }
  const bool may_keep = is_one_of(node, kMovement) || is_one_of(node, kReductions) ||
                        is_one_of(node, kRowwise) || node.is("transpose");
  if (!may_keep || node.input(0) == nullptr) return DeviceLayout::rows;
  const DeviceLayout first = state_of(node.input(0)).first;
  return keeps(node, first) ? first : DeviceLayout::rows;
}

void DeviceLayouts::give(const Node& node, DeviceLayout layout) {
  for (int i = 0; i < node.output_count(); ++i) {
    const auto dims = sizes(node.output(i));
    // One row of whole blocks is the same in every layout.
    const bool same = layout == DeviceLayout::maps &&
                      lower::count_of(dims) == last(dims, 0) * (dims.empty() ? 1 : dims[0]) &&
                      last(dims, 0) % kBlock == 0;
    states_[node.output(i)] = {layout,
                               static_cast<uint8_t>(bit_of(layout) | (same ? kRowsBit : 0))};
  }
}

// Scores of attention that leave fractals half empty go through softmax as rows.
LayoutCopies DeviceLayouts::scores(const Node& node) const {
  const auto* op = node.as<Attention>();
  if (op == nullptr) return {};
  const auto q = sizes(node.input(0)), k = sizes(node.input(1));
  if (q.size() != 4 || k.size() != 4) return {};
  const auto length = static_cast<size_t>(op->length_axis());
  const int64_t s = q[length], t = k[length], heads = q[static_cast<size_t>(op->head_axis())];
  if (s % kRows == 0 && t % kRows == 0) return {};
  const auto size = static_cast<int64_t>(dtype_size(real_));
  return {2, 2 * q[0] * heads * size * (s * t + up(s, kRows) * up(t, kRows))};
}

LayoutCopies DeviceLayouts::enter(const Node& node) {
  LayoutCopies copies;
  const DeviceLayout layout = taken_by(node);
  // From channels behind the batch to channels last is from rows to maps, and back: one kernel.
  if (moves_channels(node, false) && state_of(node.input(0)).made == kMapsBit) {
    states_[node.output()] = {DeviceLayout::rows, kRowsBit};
    return copies;
  }
  for (const Value* v : node.inputs())
    if (v != nullptr && !is_constant(v)) copies.add(bring(v, layout));
  give(node, layout);
  if (moves_channels(node, true) && layout == DeviceLayout::rows)
    states_[node.output()].made |= kMapsBit;
  if (layout == DeviceLayout::fractals) copies.add(scores(node));
  for (int i = 0; i < node.output_count(); ++i)
    if (node.output(i)->uses().empty() && layout != DeviceLayout::fractals)
      copies.add(bring(node.output(i), DeviceLayout::rows));
  return copies;
}

// Convolutions with what follows them on their way out, and maximum pools, write every so many
// blocks.
bool DeviceLayouts::writes_apart(const Value* value) const {
  const Node* maker = value->producer();
  if (maker == nullptr || maker->is("max_pool")) return maker != nullptr;
  const auto* conv = maker->as<Conv>();
  if (conv == nullptr || maker->input(3) != nullptr) return false;
  return conv->activation == ActivationKind::none || conv->activation == ActivationKind::relu ||
         conv->activation == ActivationKind::leaky_relu;
}

bool DeviceLayouts::joins_in_place(const Node& node) const {
  const auto at = states_.find(node.output());
  if (!node.is("concat") || at == states_.end() || at->second.first != DeviceLayout::maps)
    return false;
  const auto dims = sizes(node.output());
  if (dims.empty() || last(dims, 0) == last(sizes(node.input(0)), 0)) return false;
  return samples(dims) == 1 ||
         std::ranges::all_of(node.inputs(), [&](const Value* v) { return writes_apart(v); });
}

double DeviceLayouts::filling(const Node& node) const {
  double filled = 0, own = 0;
  const auto count = [&](const Value* v) {
    const auto at = states_.find(v);
    if (at == states_.end() || at->second.first == DeviceLayout::fractals) return;
    filled += static_cast<double>(bytes(v, at->second.first));
    own += static_cast<double>(bytes(v, DeviceLayout::rows));
  };
  for (const Value* v : node.inputs())
    if (v != nullptr && !is_constant(v)) count(v);
  for (int i = 0; i < node.output_count(); ++i) count(node.output(i));
  return own > 0 ? filled / own : 1;
}

}  // namespace tenon
