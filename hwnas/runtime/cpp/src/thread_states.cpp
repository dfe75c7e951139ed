#include "thread_states.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "failure.hpp"

namespace hwnas::core {

// What the calling thread has, over all switchers; nearly always one or two entries.
struct ThreadTable {
  struct Entry {
    std::uint64_t id;
    ThreadState* state;
    std::shared_ptr<ThreadStates> owner;
  };

  ~ThreadTable() {
    gone = true;
    for (const Entry& entry : entries) entry.owner->release(entry.state);
  }

  void forget_closed() {
    const auto closed = [](const Entry& entry) {
      const std::lock_guard lock(entry.owner->mutex_);
      return entry.owner->closed_;
    };
    entries.erase(std::remove_if(entries.begin(), entries.end(), closed), entries.end());
  }

  std::vector<Entry> entries;

  // Has no destructor, so that it can still be read when the table has had its own: destructors of
  // the embedder's thread-local and static objects may call after it.
  static thread_local bool gone;
};

thread_local bool ThreadTable::gone = false;

namespace {

thread_local ThreadTable table;

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

ThreadStates::ThreadStates(const Runtime& runtime, std::size_t subnets)
    : runtime_(runtime), subnets_(subnets), id_(next_id()) {}

ThreadState& ThreadStates::mine() {
  if (ThreadTable::gone) {
    fail(HWNAS_ERROR_ARGUMENT, "the thread is ending: what it had bound is released already",
         "run before the destructors of thread-local objects do");
  }
  for (const ThreadTable::Entry& entry : table.entries) {
    if (entry.id == id_) return *entry.state;
  }
  return make_mine();
}

ThreadState& ThreadStates::make_mine() {
  table.forget_closed();
  auto state = std::make_unique<ThreadState>(runtime_, subnets_);
  ThreadState& made = *state;
  table.entries.reserve(table.entries.size() + 1);  // nothing below the lock may fail
  const std::lock_guard lock(mutex_);
  states_.push_back(std::move(state));
  table.entries.push_back({id_, &made, shared_from_this()});
  return made;
}

void ThreadStates::release_mine() {
  if (ThreadTable::gone) return;
  const auto found =
      std::find_if(table.entries.begin(), table.entries.end(),
                   [&](const ThreadTable::Entry& entry) { return entry.id == id_; });
  if (found == table.entries.end()) return;
  release(found->state);
  table.entries.erase(found);
}

void ThreadStates::release(const ThreadState* state) {
  // Under the lock: the sessions that its chains use live until release_all has had the lock.
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(states_.begin(), states_.end(),
                                  [&](const auto& held) { return held.get() == state; });
  if (found != states_.end()) states_.erase(found);
}

void ThreadStates::release_all() {
  const std::lock_guard lock(mutex_);
  states_.clear();
  closed_ = true;
}

}  // namespace hwnas::core
