#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "support.hpp"

namespace {

double stress_seconds() {
  const char* text = std::getenv("HWNAS_STRESS_SECONDS");
  return text == nullptr ? 3.0 : std::atof(text);
}

struct Counts {
  std::atomic<long> runs{0}, mismatches{0}, failures{0};
};

// Runs random subnets until `stop`, half of them as whatever is current just then.
void work(hwnas::Switcher& switcher, const support::Expected& expected, unsigned seed,
          const std::atomic<bool>& stop, Counts& counts) {
  std::mt19937 random(seed);
  support::Tensors in(switcher.inputs()), out(switcher.outputs());
  const std::size_t subnets = expected.outputs[0].size();
  while (!stop) {
    const std::size_t sample = random() % expected.inputs.size();
    const std::size_t subnet = random() % subnets;
    in.fill(expected.inputs[sample]);
    const bool named = random() % 2 == 0;
    if (!named) switcher.set_current(subnet);
    if (random() % 512 == 0) switcher.release_thread();
    const auto status = hwnas_run(switcher.handle(), named ? subnet : HWNAS_CURRENT, in.inputs(),
                                  out.pointers());
    const auto& all = expected.outputs[sample];
    const std::string bytes = out.bytes();
    const bool good =
        named ? bytes == all[subnet] : std::find(all.begin(), all.end(), bytes) != all.end();
    ++counts.runs;
    counts.failures += status == HWNAS_OK ? 0 : 1;
    counts.mismatches += good ? 0 : 1;
  }
}

void stress(const std::string& name, const hwnas::Options& options, double seconds) {
  hwnas::Switcher switcher(support::bundle(name).string(), options);
  const support::Expected expected(name, switcher);
  Counts counts;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { work(switcher, expected, i, stop, counts); });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  for (auto& thread : threads) thread.join();
  MESSAGE(name, ": ", counts.runs.load(), " runs in 8 threads");
  CHECK(counts.runs > 8);
  CHECK(counts.failures == 0);
  CHECK(counts.mismatches == 0);
}

}  // namespace

TEST_CASE("eight threads that switch and run get no other result than one thread") {
  stress("layers", {}, stress_seconds() * 0.5);
  stress("skips", {}, stress_seconds() * 0.25);
  hwnas::Options pool;
  pool.threads = 2;
  stress("layers", pool, stress_seconds() * 0.25);
}

TEST_CASE("eight threads that switch between shapes get each subnet's own result") {
  hwnas::Switcher switcher(support::bundle("shapes").string());
  const support::Expected expected("shapes", switcher);
  const std::size_t subnets = switcher.names().size();
  Counts counts;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(i);
      std::vector<support::Tensors> ins, outs;
      for (std::size_t k = 0; k < subnets; ++k) {
        ins.emplace_back(switcher.inputs(k)).fill(expected.inputs[0]);
        outs.emplace_back(switcher.outputs(k));
      }
      while (!stop) {
        switcher.set_current(random() % subnets);
        const std::size_t now = switcher.current();  // another thread may have switched
        if (random() % 256 == 0) switcher.release_thread();
        const auto status =
            hwnas_run(switcher.handle(), now, ins[now].inputs(), outs[now].pointers());
        ++counts.runs;
        counts.failures += status == HWNAS_OK ? 0 : 1;
        counts.mismatches += outs[now].bytes() == expected.outputs[0][now] ? 0 : 1;
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(stress_seconds() * 0.25));
  stop = true;
  for (auto& thread : threads) thread.join();
  CHECK(counts.runs > 8);
  CHECK(counts.failures == 0);
  CHECK(counts.mismatches == 0);
}

TEST_CASE("switchers open, run and close in many threads at once") {
  const std::string path = support::bundle("layers").string();
  std::string expected, input;
  {
    hwnas::Switcher switcher(path);
    const support::Expected all("layers", switcher);
    input = all.inputs[0];
    expected = all.outputs[0][0];
  }
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 5; ++round) {
        hwnas::Switcher switcher(path);
        good += support::result(switcher, 0, input) == expected ? 1 : 0;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == 20);
}

TEST_CASE("errors are each thread's own") {
  CHECK(support::open_status("/nowhere/here") != HWNAS_OK);
  std::string other = "x";
  std::thread([&] {
    other = hwnas_last_error();
    support::open_status("/nowhere/there");
  }).join();
  CHECK(other.empty());
  CHECK(std::string(hwnas_last_error()).find("/nowhere/here") != std::string::npos);
}
