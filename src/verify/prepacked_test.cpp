// Forms of weights that a file holds for kernels: what was made once is used, and results are those
// of a file without them, bit by bit.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "verify/file_test_support.h"

namespace tenon {
namespace {

using namespace file_test;

// A layer of each kind that has a form of its own.
constexpr const char* kLayers =
    R"(graph @f (%i: f32[1,20,20,32], %u: u8[1,9,9,32], %m: f32[1,56,56,32], %x: f32[3,40]) {
  %w0 = const random(seed=1) : f32[3,3,32,48]
  %w1 = const random(seed=2) : f32[1,7,48,64]
  %w2 = const random(seed=3) : f32[5,5,1,64]
  %w3 = const random(seed=4) : f32[3,3,16,64]
  %w4 = const random(seed=5) : f32[3,3,4,64]
  %w5 = const random(seed=6) : f32[1,1,64,24]
  %w6 = const random(seed=7) : f32[2,2,20,24]
  %w7 = const random(seed=8) : f32[3,3,20,4]
  %w8 = const random(seed=9) : f32[3,3,4,3]
  %w9 = const random(seed=10) : i8[3,3,8,32]
  %w10 = const random(seed=11) : f32[3,3,32,32]
  %w11 = const random(seed=12) : f32[5,5,32,32]
  %w12 = const random(seed=13) : f32[3,3,8,32]
  %w13 = const random(seed=14) : f32[4,4,2,32]
  %w14 = const random(seed=15) : f32[40,24]
  %a = conv(%i, %w0) {pads=[1, 1, 1, 1]} : f32[1,20,20,48]
  %b = conv(%a, %w1) {pads=[0, 3, 0, 3]} : f32[1,20,20,64]
  %c = conv(%b, %w2) {groups=64} : f32[1,16,16,64]
  %d = conv(%c, %w3) {groups=4} : f32[1,14,14,64]
  %e = conv(%d, %w4) {groups=16} : f32[1,12,12,64]
  %g = conv(%e, %w5) {strides=[2, 2]} : f32[1,6,6,24]
  %h = conv_transpose(%g, %w6) {strides=[2, 2]} : f32[1,12,12,20]
  %j = conv(%h, %w7) : f32[1,10,10,4]
  %k = conv(%j, %w8) {dilations=[2, 2]} : f32[1,6,6,3]
  %q = quantized_conv(%u, %w9) {groups=4} : i32[1,7,7,32]
  %n = conv(%m, %w10) : f32[1,54,54,32]
  %o = conv(%n, %w11) {pads=[2, 2, 2, 2]} : f32[1,54,54,32]
  %p = conv(%o, %w12) {groups=4, strides=[2, 2]} : f32[1,26,26,32]
  %r = conv_transpose(%p, %w13) {strides=[2, 2]} : f32[1,54,54,2]
  %s = matmul(%x, %w14) {alpha=0.5} : f32[3,24]
  return (%k, %q, %r, %s)
})";

TEST(Prepacked, AreMadeOnce) {
  FileModel model = model_of(kLayers);
  const Outcome without = run(model);
  EXPECT_GT(without.packed_bytes, 0);
  ASSERT_GE(without.prepacked.size(), 10);
  model.prepacked = without.prepacked;
  const Outcome with = run(model);
  EXPECT_EQ(with.packed_bytes, 0);
  EXPECT_TRUE(with.prepacked.empty());
  expect_same(with.outputs, without.outputs, "prepacked");
}

TEST(Prepacked, AreWrittenInOneOrderAndRead) {
  FileModel model = model_of(kLayers);
  const size_t bytes = encode_model(model).value().size();
  model.prepacked = run(model).prepacked;
  const auto file = encode_model(model).value();
  EXPECT_GT(file.size(), bytes);
  std::ranges::reverse(model.prepacked);
  EXPECT_EQ(encode_model(model).value(), file);
  FileModel read = read_model(blob_of(file)).value();
  EXPECT_EQ(read.prepacked.size(), model.prepacked.size());
  EXPECT_EQ(encode_model(read).value(), file);
  // Of weights that are no longer there nothing is kept.
  read.functions[0].graph = std::move(model_of(R"(graph @f (%x: f32[2,3]) {
    %y = tanh(%x) : f32[2,3]
    return (%y)
  })")
                                          .functions[0]
                                          .graph);
  read.functions[0].input_names.resize(1);
  read.functions[0].output_names.resize(1);
  EXPECT_LT(encode_model(read).value().size(), bytes);
}

// A reader that knows no forms passes the section over.
TEST(Prepacked, AreNotRequired) {
  FileModel model = model_of(kLayers);
  model.prepacked = run(model).prepacked;
  const FileLayout layout = read_layout(encode_model(model).value()).value();
  EXPECT_EQ(layout.sections.back().kind, container::kPrepacked);
  EXPECT_FALSE(layout.sections.back().required);
}

TEST(Prepacked, WhatDoesNotFitIsMadeAnew) {
  FileModel model = model_of(kLayers);
  const Outcome without = run(model);
  const Tensor zeros = Tensor::zeros(DType::f32, std::vector<int64_t>{1 << 20}).value();
  for (PrepackedWeight form : without.prepacked) {
    const size_t size = form.bytes.bytes.size();
    for (const size_t other : {size - 4, size + 64, size_t{0}}) {
      form.bytes.bytes = zeros.bytes().first(other);
      model.prepacked = {form};
      expect_same(run(model).outputs, without.outputs, form.form);
    }
    form.bytes.bytes = zeros.bytes().first(size);
    form.form += "x";
    model.prepacked = {form};
    expect_same(run(model).outputs, without.outputs, form.form);
  }
}

TEST(Prepacked, DamageIsFound) {
  FileModel model = model_of(kLayers);
  model.prepacked = run(model).prepacked;
  auto file = encode_model(model).value();
  const FileSection section = read_layout(file).value().sections.back();
  auto damaged = file;
  damaged[section.offset + section.size / 2] ^= std::byte{1};
  const auto read = read_model(blob_of(damaged));
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, Code::invalid_model);
  EXPECT_TRUE(read_model(blob_of(damaged), {.verify_weights = false}).ok());
  // A section that ends before the last form does.
  const uint64_t less = section.size - 64;
  const uint64_t row = offsetof(container::Section, size);
  const size_t at = sizeof(container::Header) +
                    (read_layout(file).value().sections.size() - 1) * sizeof(container::Section);
  std::memcpy(file.data() + at + row, &less, sizeof less);
  const auto cut = read_model(blob_of(patched(std::move(file), "conv", "conv")));
  ASSERT_FALSE(cut.ok());
  EXPECT_NE(cut.error().message.find("is damaged"), std::string::npos);
}

// Files of other versions hold these: a form whose bytes change takes another name.
TEST(Prepacked, BytesOfAFormAreForGood) {
  const std::map<std::string, uint64_t> known = {
      {"winograd of 1 of f32[3,3,32,48]", 0x626750b60638eaa2},
      {"winograd of 1 of f32[1,7,48,64]", 0x6b7074a7de6555f9},
      {"depthwise of 64 of f32[5,5,1,64]", 0x68285a3a20595041},
      {"panels of 4 of f32[3,3,16,64]", 0xb7344f31daf254ed},
      {"grouped of 16 of f32[3,3,4,64]", 0x7ee266f6048d2802},
      {"panels/1x64x24 of f32[1,1,64,24]", 0xa1f7d30694b8f44b},
      {"phases/1,0,-1,1,0,-2,1,0,-1,1,panels,0,-1,1,1,-2,1,0,-1,1,panels of f32[2,2,20,24]",
       0xaac1f70cb3ce8edc},
      {"shifted of 1 of f32[3,3,20,4]", 0x297ad8269348d506},
      {"panels/1x36x3 of f32[3,3,4,3]", 0xd743dd699c9a74de},
      {"int8/1/1/4 merged, zeros a057271c9071c99d of i8[3,3,8,32]", 0xe1bbe33e43018afe},
      {"winograd_f6 of 1 of f32[3,3,32,32]", 0x5392734a2c0d4f01},
      {"winograd of 1 of f32[5,5,32,32]", 0xcb7b6d78a4e4247b},
      {"grouped of 4 of f32[3,3,8,32]", 0x62532d22265efd3b},
      {"columns/32 of f32[4,4,2,32]", 0x59f7553acf52af7e},
      {"panels/1x40x24 times 0.5 of f32[40,24]", 0x9b4dda2561dde2cc},
  };
  for (const PrepackedWeight& form : run(model_of(kLayers)).prepacked) {
    const auto found = known.find(form.form);
    const uint64_t hash = hash64(form.bytes.bytes);
    EXPECT_TRUE(found != known.end() && found->second == hash)
        << fmt::format("{{\"{}\", 0x{:016x}}},", form.form, hash);
  }
}

}  // namespace
}  // namespace tenon
