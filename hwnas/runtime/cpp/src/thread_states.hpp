// What each thread has bound of one switcher: found without a lock, freed by whoever is first.
#ifndef HWNAS_SRC_THREAD_STATES_HPP_
#define HWNAS_SRC_THREAD_STATES_HPP_

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "buffers.hpp"
#include "chain.hpp"

namespace hwnas::core {

// One thread's buffers, and its chains by index of the subnet; null until it first runs one.
struct ThreadState {
  ThreadState(const Runtime& runtime, std::size_t subnets) : buffers(runtime), chains(subnets) {}

  Buffers buffers;
  std::vector<std::unique_ptr<Chain>> chains;  // after the buffers, which they use
};

// All threads' states of one switcher. A state is freed when its thread ends or gives it back, or
// when the switcher is closed: each thread holds a share of this registry, so that neither order
// leaves the other with nothing.
class ThreadStates : public std::enable_shared_from_this<ThreadStates> {
 public:
  ThreadStates(const Runtime& runtime, std::size_t subnets);

  ThreadState& mine();       // the calling thread's; made at its first call
  void release_mine();       // the calling thread's, if it has one
  void release_all();        // no thread may run meanwhile; none may ask for its state later

 private:
  friend struct ThreadTable;

  ThreadState& make_mine();
  void release(const ThreadState* state);

  const Runtime& runtime_;
  const std::size_t subnets_;
  const std::uint64_t id_;  // never used again: a thread may remember a switcher that is gone

  std::mutex mutex_;  // guards what follows
  std::vector<std::unique_ptr<ThreadState>> states_;
  bool closed_ = false;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_THREAD_STATES_HPP_
