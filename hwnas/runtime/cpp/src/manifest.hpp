// What manifest.json says, as far as running needs it. Data, checked one entry at a time.
#ifndef HWNAS_SRC_MANIFEST_HPP_
#define HWNAS_SRC_MANIFEST_HPP_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor.hpp"

namespace hwnas::core {

constexpr std::int64_t kNewestSchema = 3;

struct BundleFile {
  std::string file;  // relative to the bundle's folder
  std::string sha256;
  std::uint64_t bytes = 0;
};

struct Segment {
  std::string id;
  BundleFile graph;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

struct Call {
  std::size_t segment = 0;  // index
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
};

struct Program {
  std::vector<std::string> inputs;
  std::vector<Call> calls;
  std::vector<std::pair<std::string, std::string>> outputs;  // public name, value
};

// What a subnet takes and gives.
struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;

  std::size_t input_bytes() const;
};

struct Subnet {
  std::string name;
  Program program;
  std::uint64_t weight_bytes = 0;
  std::size_t signature = 0;  // index
};

// Where the graphs of a finalised bundle may run.
struct Finalised {
  std::string runtime;
  std::string version;
  std::string machine;
  std::vector<std::string> isa;
};

struct Manifest {
  std::vector<Signature> signatures;  // the network's, then each other one once
  BundleFile weights;
  std::vector<Segment> segments;
  std::vector<Subnet> subnets;  // in the order of the file
  std::optional<Finalised> finalised;

  const Signature& network() const { return signatures.front(); }
  const Signature& signature(const Subnet& subnet) const { return signatures[subnet.signature]; }
};

// `what` names the file in messages. Failures: HWNAS_ERROR_BUNDLE, HWNAS_ERROR_NEWER_SCHEMA.
Manifest parse_manifest(std::string_view text, const std::string& what);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_MANIFEST_HPP_
