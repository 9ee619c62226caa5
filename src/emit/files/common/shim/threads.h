// The parts of a kernel that run side by side, blocks or tasks, as threads of the host.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace shim {

// All parts of a kernel meet here.
class Meeting {
 public:
  explicit Meeting(int parts) : parts_(parts) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int turn = turn_;
    if (++arrived_ == parts_) {
      arrived_ = 0;
      ++turn_;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return turn_ != turn; });
    }
  }

 private:
  const int parts_;
  int arrived_ = 0, turn_ = 0;
  std::mutex mutex_;
  std::condition_variable all_;
};

// part(i, meeting) for every i below `parts`, each on a thread of its own.
template <typename Part>
void run_on_threads(int parts, Part part) {
  Meeting meeting(parts);
  std::vector<std::thread> threads;
  for (int i = 0; i < parts; ++i) threads.emplace_back([&, i] { part(i, meeting); });
  for (std::thread& t : threads) t.join();
}

}  // namespace shim
