#include <doctest/doctest.h>

#include "plan.hpp"

using namespace hwnas::core;

namespace {

TensorSpec spec(const char* name, std::int64_t size) {
  return {name, HWNAS_FLOAT32, {1, size}, static_cast<std::size_t>(4 * size)};
}

// A network x[1,4] -> y[1,2]. Segment 0 keeps the shape, 1 ends, 2 ends and takes two values.
Manifest network(const std::vector<Call>& calls, const char* end) {
  Manifest manifest;
  manifest.signatures = {{{spec("x", 4)}, {spec("y", 2)}}};
  manifest.segments = {{"same", {}, {spec("in0", 4)}, {spec("out0", 4)}},
                       {"end", {}, {spec("in0", 4)}, {spec("out0", 2)}},
                       {"join", {}, {spec("in0", 4), spec("in1", 4)}, {spec("out0", 2)}}};
  manifest.subnets = {{"d", {{"x"}, calls, {{"y", end}}}, 0, 0}};
  return manifest;
}

std::unordered_map<std::string_view, Buffer> plan(const Manifest& manifest) {
  const Subnet& subnet = manifest.subnets[0];
  return plan_buffers(subnet.program, check_subnet(subnet, manifest));
}

}  // namespace

TEST_CASE("a chain of equal hops lives in two buffers, used in turn") {
  std::vector<Call> calls = {{0, {"x"}, {"v0"}}};
  for (int i = 0; i < 10; ++i) {
    calls.push_back({0, {"v" + std::to_string(i)}, {"v" + std::to_string(i + 1)}});
  }
  calls.push_back({1, {"v10"}, {"end"}});
  const Manifest manifest = network(calls, "end");
  const auto planned = plan(manifest);
  CHECK(planned.size() == 11);  // not the input, not the output
  for (std::size_t i = 0; i <= 10; ++i) {
    CHECK(planned.at("v" + std::to_string(i)).index == i % 2);
  }
}

TEST_CASE("a value that is read late keeps its buffer until then") {
  const Manifest manifest = network({{0, {"x"}, {"skip"}},
                                     {0, {"skip"}, {"v1"}},
                                     {0, {"v1"}, {"v2"}},
                                     {0, {"v2"}, {"v3"}},
                                     {2, {"v3", "skip"}, {"end"}}},
                                    "end");
  const auto planned = plan(manifest);
  for (const char* other : {"v1", "v2", "v3"}) {
    CHECK(planned.at(other).index != planned.at("skip").index);
  }
  CHECK(planned.at("v1").index != planned.at("v2").index);
  CHECK(planned.at("v1").index == planned.at("v3").index);
}

TEST_CASE("a value that nothing reads gives its buffer back at once") {
  const Manifest manifest = network({{0, {"x"}, {"unread"}},
                                     {0, {"x"}, {"v1"}},
                                     {1, {"v1"}, {"end"}}},
                                    "end");
  const auto planned = plan(manifest);
  CHECK(planned.at("unread").index == planned.at("v1").index);
}
