#include "thread_states.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

namespace hwnas::core {

// What the calling thread has, over all switchers; nearly always one or two entries.
struct ThreadTable {
  struct Entry {
    std::uint64_t id;
    ThreadState* state;
    std::shared_ptr<ThreadStates> owner;
  };

  ~ThreadTable() {
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
};

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
