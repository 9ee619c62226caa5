#include "device/suite/models.h"

namespace tenon::device {
namespace {

constexpr SuiteModel kModels[] = {
    {"add", R"(graph @main (%x: f32[3,70], %z: f32[3,70]) {
  %y = add(%x, %z)
  return (%y)
})"},
    {"broadcast", R"(graph @main (%x: f32[4,5,16], %z: f32[5,1]) {
  %y = mul(%x, %z)
  return (%y)
})"},
    {"pointwise chain", R"(graph @main (%x: f32[2,100]) {
  %a = sigmoid(%x)
  %b = tanh(%a)
  %c = exp(%b)
  %d = sqrt(%c)
  %y = sub(%d, %x)
  return (%y)
})"},
    {"divide", R"(graph @main (%x: f32[64]) {
  %two = const splat(2) : f32[]
  %d = add(%x, %two)
  %y = div(%x, %d)
  return (%y)
})"},
    {"integers", R"(graph @main (%x: i32[33], %z: i32[33]) {
  %a = add(%x, %z)
  %three = const splat(3) : i32[33]
  %y = mul(%a, %three)
  return (%y)
})"},
    {"comparison and select", R"(graph @main (%x: f32[40], %z: f32[40]) {
  %c = less(%x, %z)
  %y = select(%c, %x, %z)
  return (%y)
})"},
    {"matmul", R"(graph @main (%x: f32[20,48], %z: f32[48,36]) {
  %y = matmul(%x, %z)
  return (%y)
})"},
    {"matmul of batches", R"(graph @main (%x: f32[3,7,20], %z: f32[3,20,9]) {
  %y = matmul(%x, %z)
  return (%y)
})"},
    {"dense layer", R"(graph @main (%x: f32[5,100]) {
  %w = const random(seed=1) : f32[100,30]
  %b = const random(seed=2) : f32[30]
  %m = matmul(%x, %w)
  %s = add(%m, %b)
  %y = relu(%s)
  return (%y)
})"},
    {"conv", R"(graph @main (%x: f32[2,9,9,16]) {
  %w = const random(seed=1) : f32[3,3,16,24]
  %y = conv(%x, %w) {pads=[1, 1, 1, 1]}
  return (%y)
})"},
    {"conv of few channels with strides", R"(graph @main (%x: f32[1,21,21,3]) {
  %w = const random(seed=1) : f32[7,7,3,8]
  %b = const random(seed=2) : f32[8]
  %y = conv(%x, %w, %b) {strides=[2, 2], pads=[3, 3, 3, 3], activation="relu"}
  return (%y)
})"},
    {"conv of groups", R"(graph @main (%x: f32[1,8,8,32]) {
  %w = const random(seed=1) : f32[3,3,8,32]
  %y = conv(%x, %w) {groups=4, pads=[1, 1, 1, 1]}
  return (%y)
})"},
    {"depthwise conv", R"(graph @main (%x: f32[1,10,10,24]) {
  %w = const random(seed=1) : f32[3,3,1,24]
  %y = conv(%x, %w) {groups=24, pads=[1, 1, 1, 1]}
  return (%y)
})"},
    {"residual block", R"(graph @main (%x: f32[1,8,8,16]) {
  %w = const random(seed=1) : f32[3,3,16,16]
  %v = const random(seed=2) : f32[3,3,16,16]
  %a = conv(%x, %w) {pads=[1, 1, 1, 1], activation="relu"}
  %b = conv(%a, %v) {pads=[1, 1, 1, 1]}
  %s = add(%b, %x)
  %y = relu(%s)
  return (%y)
})"},
    {"max pool", R"(graph @main (%x: f32[1,12,12,16]) {
  %y = max_pool(%x) {kernel=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]}
  return (%y)
})"},
    {"average pool", R"(graph @main (%x: f32[1,12,12,16]) {
  %y = avg_pool(%x) {kernel=[2, 2], strides=[2, 2]}
  return (%y)
})"},
    {"mean over space", R"(graph @main (%x: f32[2,7,7,40]) {
  %y = mean(%x) {axes=[1, 2]}
  return (%y)
})"},
    {"sum and max", R"(graph @main (%x: f32[6,50]) {
  %a = sum(%x) {axes=[1]}
  %b = reduce_max(%x) {axes=[0]}
  return (%a, %b)
})"},
    {"softmax", R"(graph @main (%x: f32[9,60]) {
  %y = softmax(%x)
  return (%y)
})"},
    {"layer norm", R"(graph @main (%x: f32[4,64]) {
  %g = const random(seed=1) : f32[64]
  %b = const random(seed=2) : f32[64]
  %y = layer_norm(%x, %g, %b) {epsilon=1e-05}
  return (%y)
})"},
    {"attention", R"(graph @main (%q: f32[1,2,12,16], %k: f32[1,2,12,16], %v: f32[1,2,12,16]) {
  %y = attention(%q, %k, %v) {scale=0.25}
  return (%y)
})"},
    {"transpose", R"(graph @main (%x: f32[3,17,19,5]) {
  %y = transpose(%x) {perm=[0, 3, 1, 2]}
  return (%y)
})"},
    {"concat", R"(graph @main (%x: f32[4,20], %z: f32[4,33]) {
  %y = concat(%x, %z) {axis=1}
  return (%y)
})"},
    {"slice and pad", R"(graph @main (%x: f32[10,30]) {
  %b = const dense<[1, 3]> : i64[2]
  %e = const dense<[9, 25]> : i64[2]
  %s = slice(%x, %b, %e)
  %p = const dense<[1, 2, 0, 3]> : i64[4]
  %y = pad(%s, %p)
  return (%y)
})"},
    {"gather", R"(graph @main (%x: f32[12,16]) {
  %i = const dense<[3, 0, 11]> : i64[3]
  %y = gather(%x, %i)
  return (%y)
})"},
    {"split", R"(graph @main (%x: f32[4,48]) {
  %a, %b = split(%x) {axis=1, num=2}
  %y = mul(%a, %b)
  return (%y)
})"},
    {"cast", R"(graph @main (%x: i32[50]) {
  %a = cast(%x) {to=f32}
  %half = const splat(0.5) : f32[]
  %y = mul(%a, %half)
  return (%y)
})"},
    {"largest element", R"(graph @main (%x: f32[6,40]) {
  %y = arg_max(%x) {axis=1}
  return (%y)
})"},
    {"loop", R"(graph @main (%x: f32[8]) {
  %zero = const dense<0> : i64[]
  %i, %y = while(%zero, %x) with {
    graph @cond (%i: i64[], %x: f32[8]) {
      %five = const dense<5> : i64[]
      %more = less(%i, %five)
      return (%more)
    }
    graph @body (%i: i64[], %x: f32[8]) {
      %one = const dense<1> : i64[]
      %next = add(%i, %one)
      %twice = add(%x, %x)
      return (%next, %twice)
    }
  }
  return (%y)
})"},
    {"branch", R"(graph @main (%c: bool[], %x: f32[8]) {
  %y = if(%c, %x) with {
    graph @then (%x: f32[8]) {
      %y = neg(%x)
      return (%y)
    }
    graph @else (%x: f32[8]) {
      %y = exp(%x)
      return (%y)
    }
  }
  return (%y)
})"},
    {"open batch", R"(graph @main (%x: f32[?n,6,6,8]) {
  %w = const random(seed=1) : f32[3,3,8,8]
  %a = conv(%x, %w) {pads=[1, 1, 1, 1], activation="relu"}
  %y = mean(%a) {axes=[1, 2]}
  return (%y)
})"},
    {"double precision", R"(graph @main (%x: f64[20]) {
  %y = exp(%x)
  return (%y)
})"},
    {"what is given is given back", R"(graph @main (%x: f32[4,4]) {
  %y = identity(%x)
  return (%y)
})"},
};

}  // namespace

std::span<const SuiteModel> suite_models() {
  return kModels;
}

}  // namespace tenon::device
