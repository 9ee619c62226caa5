// Of the host shim of Ascend C: cores, flags and tensors, whose every access is checked.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "half.h"
#include "tenon_target.h"
#include "threads.h"

#define TENON_HOST_SHIM 1
#define __global__
#define __aicore__
#define __cube__
#define __vector__
#define __gm__
using GM_ADDR = uint8_t*;

namespace shim {

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "host shim: %s\n", what);
  std::exit(1);
}

struct Core {
  int block = 0, blocks = 1;
  Meeting* meeting = nullptr;
  std::vector<std::unique_ptr<uint8_t[]>> memories;
  std::map<std::pair<int, int>, int> flags;
};
inline thread_local Core* core = nullptr;

template <typename... Parameters>
struct Launch {
  int blocks;
  void (*kernel)(Parameters...);
  template <typename... Arguments>
  void operator()(Arguments... arguments) const {
    run_on_threads(blocks, [&](int block, Meeting& meeting) {
      Core own;
      own.block = block;
      own.blocks = blocks;
      own.meeting = &meeting;
      core = &own;
      kernel(arguments...);
      for (const auto& flag : own.flags)
        if (flag.second != 0) fail("a flag is left over at the end of a kernel");
      core = nullptr;
    });
  }
};
template <typename... Parameters>
Launch<Parameters...> Launcher(int blocks, void (*kernel)(Parameters...)) {
  return {blocks, kernel};
}

}  // namespace shim

namespace AscendC {

using event_t = int32_t;
constexpr event_t EVENT_ID0 = 0;
enum class TPosition { A1, A2, B2, CO1, VECCALC };
enum class HardEvent {
  MTE2_MTE1,
  MTE1_MTE2,
  MTE1_M,
  M_MTE1,
  MTE2_V,
  V_MTE2,
  MTE3_V,
  V_MTE3,
  M_V,
  V_M,
  MTE3_MTE1,
  MTE1_MTE3,
  MTE1_V,
  MTE2_M,
  M_MTE2,
  V_MTE1,
  M_FIX,
  FIX_M,
  MTE3_MTE2,
  MTE2_MTE3,
  S_V,
  V_S,
  MTE2_S,
  S_MTE2,
  MTE3_S,
  S_MTE3,
  MTE2_FIX,
  FIX_MTE2,
  FIX_S,
  M_S,
  FIX_MTE3,
  MTE3_FIX,
  MTE1_FIX,
  FIX_MTE1
};
enum pipe_t { PIPE_S, PIPE_V, PIPE_M, PIPE_MTE1, PIPE_MTE2, PIPE_MTE3, PIPE_FIX, PIPE_ALL };
enum class RoundMode { CAST_NONE, CAST_RINT, CAST_FLOOR, CAST_CEIL, CAST_ROUND, CAST_TRUNC };
enum class CMPMODE { LT, GT, EQ, LE, GE, NE };
enum class ReduceOrder { ORDER_ONLY_VALUE };
enum class BlockMode { BLOCK_MODE_NORMAL, BLOCK_MODE_MATRIX, BLOCK_MODE_VECTOR };
enum class QuantMode_t { NoQuant, F322F16, F322BF16 };
struct FixpipeConfig {};
constexpr FixpipeConfig CFG_ROW_MAJOR{};

inline int64_t GetBlockIdx() {
  return shim::core->block;
}
inline int64_t GetBlockNum() {
  return shim::core->blocks;
}
template <pipe_t>
void PipeBarrier() {}
inline void SyncAll() {
  shim::core->meeting->wait();
}

template <HardEvent kEvent>
void SetFlag(event_t id) {
  if (++shim::core->flags[{static_cast<int>(kEvent), id}] > 1) shim::fail("a flag is set twice");
}
template <HardEvent kEvent>
void WaitFlag(event_t id) {
  if (--shim::core->flags[{static_cast<int>(kEvent), id}] < 0)
    shim::fail("a kernel waits for a flag that is not set");
}

// ---- Tensors: every access is within the tensor
// ---------------------------------------------------

template <typename T>
class LocalTensor {
 public:
  LocalTensor() = default;
  LocalTensor(T* data, int64_t size) : data_(data), size_(size) {}
  LocalTensor operator[](int64_t offset) const {
    if (offset < 0 || offset > size_) shim::fail("an offset is beyond its tensor");
    return {data_ + offset, size_ - offset};
  }
  T GetValue(int64_t i) const { return *at(i, 1); }
  void SetValue(int64_t i, T value) const { *at(i, 1) = value; }
  T* GetPhyAddr() const { return data_; }
  // The shim's own: `count` elements from `i` on.
  T* at(int64_t i, int64_t count) const {
    if (i < 0 || count < 0 || i + count > size_) shim::fail("an access is beyond its tensor");
    return data_ + i;
  }

 private:
  T* data_ = nullptr;
  int64_t size_ = 0;
};

template <typename T>
class GlobalTensor {
 public:
  void SetGlobalBuffer(T* data) { data_ = data; }
  GlobalTensor operator[](int64_t offset) const {
    GlobalTensor t;
    t.data_ = data_ + offset;
    return t;
  }
  T GetValue(int64_t i) const { return data_[i]; }
  void SetValue(int64_t i, T value) const { data_[i] = value; }
  T* at(int64_t i) const { return data_ + i; }

 private:
  T* data_ = nullptr;
};

template <TPosition kPosition>
class TBuf {
 public:
  template <typename T>
  LocalTensor<T> GetWithOffset(int64_t size, int64_t offset) const {
    if (offset + size * static_cast<int64_t>(sizeof(T)) > bytes_)
      shim::fail("a place is too large");
    return {reinterpret_cast<T*>(data_ + offset), size};
  }
  uint8_t* data_ = nullptr;
  int64_t bytes_ = 0;
};

class TPipe {
 public:
  template <TPosition kPosition>
  void InitBuffer(TBuf<kPosition>& buffer, int64_t bytes) {
    constexpr int64_t kMost = kPosition == TPosition::A1    ? TENON_L1_BYTES
                              : kPosition == TPosition::A2  ? TENON_L0A_BYTES
                              : kPosition == TPosition::B2  ? TENON_L0B_BYTES
                              : kPosition == TPosition::CO1 ? TENON_L0C_BYTES
                                                            : TENON_UB_BYTES;
    if (bytes > kMost) shim::fail("a core has less memory than the kernel takes");
    const int64_t room = (bytes + 63) / 32 * 32;
    shim::core->memories.emplace_back(new uint8_t[static_cast<size_t>(room + 32)]);
    uint8_t* data = shim::core->memories.back().get();
    data += (32 - reinterpret_cast<uintptr_t>(data) % 32) % 32;
    std::fill(data, data + room, uint8_t{0xff});  // NaN: what nobody wrote shows
    buffer.data_ = data;
    buffer.bytes_ = bytes;
  }
};

}  // namespace AscendC
