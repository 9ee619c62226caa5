// Loading and running a model on an Ascend chip by AscendCL: files in, files out, or a check
// against recorded results.
// @STATUS@
#pragma once

#include <acl/acl.h>

#include "files.h"

inline void Check(aclError error, const char* what) {
  if (error == 0) return;
  std::fprintf(stderr, "%s failed: error %d\n", what, static_cast<int>(error));
  std::exit(1);
}

using Stream = aclrtStream;

class Device {
 public:
  explicit Device(size_t bytes) {
    Check(aclInit(nullptr), "aclInit");
    Check(aclrtSetDevice(0), "aclrtSetDevice");
    Check(aclrtCreateStream(&stream_), "aclrtCreateStream");
    void* memory = nullptr;
    Check(aclrtMalloc(&memory, bytes, ACL_MEM_MALLOC_HUGE_FIRST), "aclrtMalloc");
    memory_ = static_cast<uint8_t*>(memory);
  }
  ~Device() {
    aclrtFree(memory_);
    aclrtDestroyStream(stream_);
    aclrtResetDevice(0);
    aclFinalize();
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  uint8_t* memory() const { return memory_; }
  Stream stream() const { return stream_; }
  static void Wait(Stream stream) {
    Check(aclrtSynchronizeStream(stream), "aclrtSynchronizeStream");
  }
  static void Write(uint8_t* to, const std::vector<uint8_t>& from) {
    Check(aclrtMemcpy(to, from.size(), from.data(), from.size(), ACL_MEMCPY_HOST_TO_DEVICE),
          "aclrtMemcpy to the device");
  }
  static void Read(std::vector<uint8_t>& to, const uint8_t* from) {
    Check(aclrtMemcpy(to.data(), to.size(), from, to.size(), ACL_MEMCPY_DEVICE_TO_HOST),
          "aclrtMemcpy to the host");
  }

 private:
  Stream stream_ = nullptr;
  uint8_t* memory_ = nullptr;
};

#include "run_model.h"
