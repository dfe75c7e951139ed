// Whatever bytes: a manifest or a graph that is not trusted is read or refused, never more.
//
// The first byte says what the rest is: 'm' a manifest, 'g' a graph.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "failure.hpp"
#include "graph.hpp"
#include "manifest.hpp"
#include "plan.hpp"
#include "program.hpp"

using namespace hwnas::core;

namespace {

void read_manifest(std::string_view text) {
  const Manifest manifest = parse_manifest(text, "manifest.json");
  check_subnets(manifest);
  for (const Subnet& subnet : manifest.subnets) {
    plan_buffers(subnet.program, check_subnet(subnet, manifest));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    if (data[0] == 'g') {
      check_graph(rest, "weights.safetensors", 8608, "graph.onnx");
    } else {
      read_manifest(rest);
    }
  } catch (const Failure&) {  // the one way of refusing; anything else ends the process
  }
  return 0;
}
