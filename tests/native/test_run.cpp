#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "support.hpp"

using Json = nlohmann::ordered_json;

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

TEST_CASE("each subnet has its own shapes; equal ones have one spec") {
  hwnas::Switcher switcher(support::bundle("shapes").string());
  const hwnas_switcher* handle = switcher.handle();
  const std::size_t small = switcher.find("r8-d1-mlp.h16");
  const std::size_t large = switcher.find("r16-d2-mlp.h32");
  CHECK(switcher.inputs(small)[0].shape() == std::vector<std::int64_t>{1, 3, 8, 8});
  CHECK(switcher.outputs(small)[0].shape() == std::vector<std::int64_t>{1, 4});
  CHECK(switcher.outputs(small)[1].shape() == std::vector<std::int64_t>{1, 16, 8, 8});
  CHECK(switcher.inputs(small)[0].name() == switcher.inputs()[0].name());
  CHECK(hwnas_subnet_input(handle, large, 0) == hwnas_input(handle, 0));
  CHECK(hwnas_subnet_output(handle, large, 0) == hwnas_output(handle, 0));
  CHECK(hwnas_subnet_input(handle, switcher.find("r8-d2-mlp.h16"), 0) ==
        hwnas_subnet_input(handle, small, 0));
  CHECK(hwnas_subnet_input(handle, small, 1) == nullptr);
  CHECK(hwnas_subnet_output(handle, 99, 0) == nullptr);
  CHECK(hwnas_subnet_input(handle, HWNAS_CURRENT, 0) == nullptr);
  CHECK(hwnas_subnet_input(nullptr, 0, 0) == nullptr);
  CHECK_THROWS_AS(switcher.inputs(99), hwnas::Error);
  CHECK(switcher.current() == large);  // as many weights as at 8 and 12, and the largest inputs
}

TEST_CASE("memory of the network's sizes is enough for every subnet") {
  const support::Copy copy("shapes");
  Json manifest = Json::parse(support::read(copy / "manifest.json"));
  const Json small = manifest["subnets"]["r8-d1-mlp.h16"];
  for (const char* side : {"inputs", "outputs"}) {
    for (auto& entry : manifest["subnets"]) {
      if (entry[side].is_null()) entry[side] = manifest[side];
    }
    manifest[side] = small[side];  // the network's are no longer the largest
  }
  support::write(copy / "manifest.json", manifest.dump());
  const hwnas::Switcher switcher(copy.path());
  CHECK(switcher.inputs()[0].shape() == std::vector<std::int64_t>{1, 3, 16, 16});
  CHECK(switcher.outputs()[0].shape() == std::vector<std::int64_t>{1, 4});
  CHECK(switcher.outputs()[1].shape() == std::vector<std::int64_t>{1, 16, 16, 16});
}

TEST_CASE("a small subnet reads and writes no more than its shapes say") {
  hwnas::Switcher switcher(support::bundle("shapes").string());
  const support::Expected expected("shapes", switcher);
  const std::size_t small = switcher.find("r8-d2-mlp.h16");
  const std::size_t reads = switcher.inputs(small)[0].bytes();
  const std::size_t logits = switcher.outputs(small)[0].bytes();
  const std::size_t writes = logits + switcher.outputs(small)[1].bytes();
  // Memory that ends where theirs does, next to each other: a sanitizer sees what goes beyond.
  std::vector<char> memory(reads + writes);
  expected.inputs[0].copy(memory.data(), reads);
  const void* inputs[] = {memory.data()};
  void* outputs[] = {memory.data() + reads, memory.data() + reads + logits};
  switcher.run(inputs, outputs, small);
  CHECK(std::string(memory.data() + reads, writes) == expected.outputs[0][small]);
  CHECK(expected.inputs[0].compare(0, reads, memory.data(), reads) == 0);
  outputs[0] = memory.data() + reads - 64;
  CHECK_THROWS_AS(switcher.run(inputs, outputs, small), hwnas::Error);
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
