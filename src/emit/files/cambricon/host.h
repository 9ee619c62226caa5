// Loading and running a model on a Cambricon chip by CNRT: files in, files out, or a check against
// recorded results.
// @STATUS@
#pragma once

#include <cnrt.h>

#include "files.h"

inline void Check(cnrtRet_t error, const char* what) {
  if (error == cnrtSuccess) return;
  std::fprintf(stderr, "%s failed: error %d\n", what, static_cast<int>(error));
  std::exit(1);
}

using Stream = cnrtQueue_t;

class Device {
 public:
  explicit Device(size_t bytes) {
    Check(cnrtSetDevice(0), "cnrtSetDevice");
    Check(cnrtQueueCreate(&queue_), "cnrtQueueCreate");
    void* memory = nullptr;
    Check(cnrtMalloc(&memory, bytes), "cnrtMalloc");
    memory_ = static_cast<uint8_t*>(memory);
  }
  ~Device() {
    cnrtFree(memory_);
    cnrtQueueDestroy(queue_);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  uint8_t* memory() const { return memory_; }
  Stream stream() const { return queue_; }
  static void Wait(Stream queue) { Check(cnrtQueueSync(queue), "cnrtQueueSync"); }
  static void Write(uint8_t* to, const std::vector<uint8_t>& from) {
    void* data = const_cast<uint8_t*>(from.data());
    Check(cnrtMemcpy(to, data, from.size(), cnrtMemcpyHostToDev), "cnrtMemcpy to the device");
  }
  static void Read(std::vector<uint8_t>& to, const uint8_t* from) {
    void* data = const_cast<uint8_t*>(from);
    Check(cnrtMemcpy(to.data(), data, to.size(), cnrtMemcpyDevToHost), "cnrtMemcpy to the host");
  }

 private:
  Stream queue_ = nullptr;
  uint8_t* memory_ = nullptr;
};

#include "run_model.h"
