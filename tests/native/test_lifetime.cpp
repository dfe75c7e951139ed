// What is freed when: threads that outlive switchers, switchers that outlive threads.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <fstream>
#include <mutex>
#include <optional>
#include <thread>

#include "support.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // which keep freed memory for a while
#else
constexpr bool kSanitized = false;
#endif
#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadsInForks = false;  // the thread sanitizer allows none
#else
constexpr bool kThreadsInForks = true;
#endif

namespace {

long resident_kib() {
  long total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

// Calls a switcher when its thread ends. Made before the thread's first run, it is destroyed after
// what that run has bound.
struct Late {
  ~Late() {
    if (switcher == nullptr) return;
    hwnas_release_thread(switcher);
    *status = hwnas_prepare(switcher, 0);
  }
  hwnas_switcher* switcher = nullptr;
  hwnas_status* status = nullptr;
};

thread_local Late late;

// What is wrong in a process that was forked while `inherited`, of two threads, was open.
int faults_of_fork(std::optional<hwnas::Switcher>& inherited, const support::Expected& expected) {
  const std::string path = support::bundle("layers").string();
  int faults = 0;
  inherited.reset();  // must not wait for threads that are not there
  try {
    hwnas::Options two;
    two.threads = 2;
    hwnas::Switcher other(path, two);
    faults |= 1;
  } catch (const hwnas::Error& error) {
    faults |= error.code() == HWNAS_ERROR_RUNTIME ? 0 : 2;
  }
  hwnas::Switcher single(path);
  faults |= support::result(single, 0, expected.inputs[0]) == expected.outputs[0][0] ? 0 : 4;
  return faults;
}

}  // namespace

TEST_CASE("opening and closing leaves nothing behind") {
  const std::string path = support::bundle("layers").string();
  long after_ten = 0;
  for (int i = 0; i < 60; ++i) {
    hwnas::Switcher switcher(path);
    switcher.prepare(0);
    if (i == 10) after_ten = resident_kib();
  }
  const long grown = resident_kib() - after_ten;
  MESSAGE("50 times open and close: ", grown, " KiB");
  if (!kSanitized) CHECK(grown < 3072);
}

TEST_CASE("threads that end leave nothing behind") {
  hwnas::Switcher switcher(support::bundle("layers").string());
  const std::string input = support::Expected("layers", switcher).inputs[0];
  long after_fifty = 0;
  for (int i = 0; i < 400; ++i) {
    std::thread([&] { support::result(switcher, 5, input); }).join();
    if (i == 50) after_fifty = resident_kib();
  }
  const long grown = resident_kib() - after_fifty;
  MESSAGE("350 threads: ", grown, " KiB");
  if (!kSanitized) CHECK(grown < 3072);
}

TEST_CASE("a thread may outlive the switchers that it ran") {
  const std::string path = support::bundle("layers").string();
  std::optional<hwnas::Switcher> switcher(path);
  const support::Expected expected("layers", *switcher);
  std::mutex mutex;
  std::condition_variable changed;
  int step = 0;
  const auto wait_for = [&](int wanted) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return step >= wanted; });
  };
  const auto go = [&](int next) {
    const std::lock_guard lock(mutex);
    step = next;
    changed.notify_all();
  };
  bool good = true;
  std::thread thread([&] {
    for (int round = 0; round < 6; ++round) {
      wait_for(2 * round);
      good = good && support::result(*switcher, 0, expected.inputs[0]) == expected.outputs[0][0];
      go(2 * round + 1);
    }
    wait_for(12);
  });
  for (int round = 0; round < 6; ++round) {
    wait_for(2 * round + 1);
    switcher.reset();
    if (round < 5) switcher.emplace(path);
    go(2 * round + 2);
  }
  thread.join();
  CHECK(good);
}

TEST_CASE("what a thread gives back it gets again") {
  hwnas::Switcher switcher(support::bundle("skips").string());
  const support::Expected expected("skips", switcher);
  switcher.release_thread();
  for (int i = 0; i < 3; ++i) {
    CHECK(support::result(switcher, 1, expected.inputs[0]) == expected.outputs[0][1]);
    switcher.release_thread();
    switcher.release_thread();
  }
}

TEST_CASE("destructors of a thread's own objects may still call") {
  hwnas::Switcher switcher(support::bundle("layers").string());
  hwnas_status status = HWNAS_OK;
  std::thread([&] {
    late.switcher = switcher.handle();
    late.status = &status;
    switcher.prepare(0);
  }).join();
  CHECK(status == HWNAS_ERROR_ARGUMENT);
}

TEST_CASE("a fork may close what it inherits, and use switchers of one thread") {
  if (!kThreadsInForks) {
    MESSAGE("left out: the thread sanitizer allows no new thread in a fork");
    return;
  }
  hwnas::Options two;
  two.threads = 2;
  std::optional<hwnas::Switcher> switcher(std::in_place, support::bundle("layers").string(), two);
  const support::Expected expected("layers", *switcher);
  CHECK(support::result(*switcher, 0, expected.inputs[0]) == expected.outputs[0][0]);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(60);
    _exit(faults_of_fork(switcher, expected));
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(support::result(*switcher, 0, expected.inputs[0]) == expected.outputs[0][0]);
}
