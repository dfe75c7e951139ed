#include <doctest/doctest.h>

#include "support.hpp"

TEST_CASE("every subnet computes what the Python switcher computes, bit for bit") {
  for (const std::string& name : support::cases()) {
    CAPTURE(name);
    hwnas::Switcher switcher(support::bundle(name).string());
    const support::Expected expected(name, switcher);
    for (int round = 0; round < 3; ++round) {
      for (std::size_t sample = 0; sample < expected.inputs.size(); ++sample) {
        for (std::size_t subnet = 0; subnet < switcher.names().size(); ++subnet) {
          CHECK(support::result(switcher, subnet, expected.inputs[sample]) ==
                expected.outputs[sample][subnet]);
        }
      }
    }
  }
}

TEST_CASE("a switch holds until the next; a call may name its own subnet") {
  hwnas::Switcher switcher(support::bundle("layers").string());
  const support::Expected expected("layers", switcher);
  support::Tensors in(switcher.inputs()), out(switcher.outputs());
  in.fill(expected.inputs[0]);
  for (const std::size_t subnet : {0u, 5u, 3u}) {
    switcher.set_current(subnet);
    switcher.run(in.inputs(), out.pointers());
    CHECK(out.bytes() == expected.outputs[0][subnet]);
    switcher.run(in.inputs(), out.pointers(), 1);
    CHECK(out.bytes() == expected.outputs[0][1]);
    CHECK(switcher.current() == subnet);
  }
}

TEST_CASE("memory that moves is followed; inputs are not written") {
  hwnas::Switcher switcher(support::bundle("skips").string());
  const support::Expected expected("skips", switcher);
  std::vector<support::Tensors> ins, outs;
  for (int i = 0; i < 4; ++i) {
    ins.emplace_back(switcher.inputs());
    outs.emplace_back(switcher.outputs());
    ins.back().fill(expected.inputs[static_cast<std::size_t>(i) % 2]);
  }
  for (std::size_t i = 0; i < 64; ++i) {
    const std::size_t from = i % 4, to = (i / 3) % 4, subnet = i % switcher.names().size();
    switcher.run(ins[from].inputs(), outs[to].pointers(), subnet);
    CHECK(outs[to].bytes() == expected.outputs[from % 2][subnet]);
    CHECK(ins[from].bytes() == expected.inputs[from % 2]);
  }
}

TEST_CASE("pointers that cannot be right are refused, and the next run is good") {
  hwnas::Switcher switcher(support::bundle("layers").string());
  const support::Expected expected("layers", switcher);
  alignas(64) char in[256], out[256];
  expected.inputs[0].copy(in, sizeof in);
  const auto status = [&](const void* from, void* to) {
    const void* inputs[] = {from};
    void* outputs[] = {to};
    return hwnas_run(switcher.handle(), 0, inputs, outputs);
  };
  for (int round = 0; round < 2; ++round) {
    CHECK(status(nullptr, out) == HWNAS_ERROR_INPUT);
    CHECK(status(in, nullptr) == HWNAS_ERROR_INPUT);
    CHECK(status(in + 1, out) == HWNAS_ERROR_INPUT);
    CHECK(status(in, out + 2) == HWNAS_ERROR_INPUT);
    CHECK(status(in, in) == HWNAS_ERROR_INPUT);
    CHECK(status(in, in + 60) == HWNAS_ERROR_INPUT);
    CHECK(std::string(hwnas_last_error()).find("overlaps") != std::string::npos);
    CHECK(hwnas_run(switcher.handle(), 0, nullptr, nullptr) == HWNAS_ERROR_ARGUMENT);
    CHECK(hwnas_run(switcher.handle(), 6, nullptr, nullptr) == HWNAS_ERROR_ARGUMENT);
    CHECK(status(in, out) == HWNAS_OK);
    CHECK(std::string(out, 16) == expected.outputs[0][0]);
  }
}
