// No allocation of ours on the hot path, and every one that fails is survived.
#include <doctest/doctest.h>

#include "counting_new.hpp"
#include "support.hpp"

namespace {

// The text of messages is not compared while memory is short: doctest allocates.
struct Attempt {
  hwnas_status status;
  bool failed;
};

template <typename Body>
Attempt with_failure_after(long count, Body&& body) {
  counting::fail_after(count);
  const hwnas_status status = body();
  const bool failed = counting::has_failed();
  counting::fail_after(counting::kNever);
  return {status, failed};
}

}  // namespace

TEST_CASE("once bound, switching and running allocates nothing") {
  for (const std::string& name : support::cases_of_one_shape()) {
    hwnas::Switcher switcher(support::bundle(name).string());
    const support::Expected expected(name, switcher);
    support::Tensors in(switcher.inputs()), out(switcher.outputs()), moved(switcher.outputs());
    in.fill(expected.inputs[0]);
    const std::size_t subnets = switcher.names().size();
    for (std::size_t i = 0; i < subnets; ++i) switcher.prepare(i);
    const long before = counting::allocations();
    hwnas_status worst = HWNAS_OK;
    for (std::size_t i = 0; i < 1000; ++i) {
      worst |= hwnas_set_current(switcher.handle(), i % subnets);
      worst |= hwnas_run(switcher.handle(), HWNAS_CURRENT, in.inputs(),
                         (i / 100 % 2 == 0 ? out : moved).pointers());
    }
    const long made = counting::allocations() - before;
    CHECK(worst == HWNAS_OK);
    CHECK(made == 0);
    CHECK(moved.bytes() == expected.outputs[0][999 % subnets]);
  }
}

TEST_CASE("once bound, switching between shapes allocates nothing") {
  for (const char* name : {"shapes", "shapes-finished"}) {
    hwnas::Switcher switcher(support::bundle(name).string());
    const support::Expected expected(name, switcher);
    std::vector<support::Tensors> ins, outs;
    const std::size_t subnets = switcher.names().size();
    for (std::size_t i = 0; i < subnets; ++i) {
      ins.emplace_back(switcher.inputs(i)).fill(expected.inputs[0]);
      outs.emplace_back(switcher.outputs(i));
      switcher.prepare(i);
    }
    const long before = counting::allocations();
    hwnas_status worst = HWNAS_OK;
    for (std::size_t i = 0; i < 1000; ++i) {
      const std::size_t subnet = i % subnets;
      worst |= hwnas_set_current(switcher.handle(), subnet);
      worst |= hwnas_run(switcher.handle(), HWNAS_CURRENT, ins[subnet].inputs(),
                         outs[subnet].pointers());
    }
    const long made = counting::allocations() - before;
    CHECK(worst == HWNAS_OK);
    CHECK(made == 0);
    for (std::size_t i = 0; i < subnets; ++i) CHECK(outs[i].bytes() == expected.outputs[0][i]);
  }
}

TEST_CASE("memory that runs out while opening gives a code, and the next open is good") {
  const std::string path = support::bundle("layers").string();
  hwnas::Switcher whole(path);  // so that loading ONNX Runtime is not in it
  hwnas_switcher* switcher = nullptr;
  const auto open = [&] { return hwnas_open(path.c_str(), nullptr, &switcher); };
  long count = 0, tried = 0;
  bool failed = true;
  for (; failed; count += 1 + count / 12, ++tried) {
    const Attempt attempt = with_failure_after(count, open);
    failed = attempt.failed;
    CAPTURE(count);
    if (attempt.status == HWNAS_OK) {
      hwnas_close(switcher);  // what failed was not needed, or nothing failed
    } else {
      CHECK(attempt.status == HWNAS_ERROR_MEMORY);
      CHECK(switcher == nullptr);
      CHECK(std::string(hwnas_last_error()) == "out of memory");
    }
  }
  MESSAGE(tried, " places out of about ", count);
  CHECK(tried > 50);
  CHECK(support::open_status(path) == HWNAS_OK);
}

TEST_CASE("memory that runs out in a thread's first run leaves the switcher usable") {
  for (const std::string& name : support::cases_of_one_shape()) {
    hwnas::Switcher switcher(support::bundle(name).string());
    const support::Expected expected(name, switcher);
    support::Tensors in(switcher.inputs()), out(switcher.outputs());
    in.fill(expected.inputs[0]);
    const auto run = [&] { return hwnas_run(switcher.handle(), 0, in.inputs(), out.pointers()); };
    bool failed = true;
    for (long count = 0; failed; ++count) {
      switcher.release_thread();
      const Attempt attempt = with_failure_after(count, run);
      failed = attempt.failed;
      CHECK(attempt.status == (failed ? HWNAS_ERROR_MEMORY : HWNAS_OK));
      CHECK(run() == HWNAS_OK);
      CHECK(out.bytes() == expected.outputs[0][0]);
    }
  }
}
