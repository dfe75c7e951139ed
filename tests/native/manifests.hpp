// A small manifest to lie in.
#ifndef HWNAS_TESTS_MANIFESTS_HPP_
#define HWNAS_TESTS_MANIFESTS_HPP_

#include <nlohmann/json.hpp>
#include <string>

namespace manifests {

using Json = nlohmann::ordered_json;

inline Json tensor(const std::string& name, const Json& shape) {
  return {{"name", name}, {"dtype", "float32"}, {"shape", shape}};
}

inline Json segment(const std::string& file, const Json& input, const Json& output) {
  return {{"file", file},
          {"sha256", std::string(64, 'a')},
          {"bytes", 10},
          {"kind", "k"},
          {"inputs", Json::array({input})},
          {"outputs", Json::array({output})},
          {"weights", Json::array({{{"tensor", "w"}, {"offset", 0}, {"length", 4}}})},
          {"blocks", Json::array({"stem/base"})}};
}

inline Json call(const std::string& unit, const std::string& in, const std::string& out) {
  return {{"unit", unit}, {"inputs", Json::array({in})}, {"outputs", Json::array({out})}};
}

inline Json subnet(const Json& calls, const std::string& output, int weight_bytes) {
  return {{"choices", {{"stem", "base"}}},
          {"program",
           {{"inputs", Json::array({"x"})}, {"calls", calls}, {"outputs", {{"y", output}}}}},
          {"kind", "k"},
          {"weight_bytes", weight_bytes},
          {"quality", nullptr},
          {"cost", Json::object()}};
}

// Adds a subnet "s" that takes x[1,3] and gives y[1,5].
inline void add_small(Json& manifest) {
  const Json in = {1, 3}, out = {1, 5};
  manifest["segments"]["s"] = segment("segments/s.onnx", tensor("in0", in), tensor("out0", out));
  Json entry = subnet(Json::array({call("s", "x", "v0")}), "v0", 4);
  entry["inputs"] = Json::array({tensor("x", in)});
  entry["outputs"] = Json::array({tensor("y", out)});
  manifest["subnets"]["s"] = entry;
}

// x[1,4] -> a -> y[1,2], and x -> a -> b -> b -> y.
inline Json good() {
  const Json wide = {1, 4}, narrow = {1, 2};
  return {{"schema_version", 3},
          {"hwnas", "0.1.0"},
          {"form", "subnets"},
          {"space", Json::object()},
          {"inputs", Json::array({tensor("x", wide)})},
          {"outputs", Json::array({tensor("y", narrow)})},
          {"weights",
           {{"file", "weights.safetensors"}, {"sha256", std::string(64, 'b')}, {"bytes", 100}}},
          {"finalised", nullptr},
          {"blocks", Json::object()},
          {"segments",
           {{"a", segment("segments/a.onnx", tensor("in0", wide), tensor("out0", wide))},
            {"b", segment("segments/b.onnx", tensor("in0", wide), tensor("out0", wide))},
            {"h", segment("segments/h.onnx", tensor("in0", wide), tensor("out0", narrow))}}},
          {"subnets",
           {{"z1", subnet(Json::array({call("a", "x", "v0"), call("h", "v0", "v1")}), "v1", 8)},
            {"d2", subnet(Json::array({call("a", "x", "v0"), call("b", "v0", "v1"),
                                       call("b", "v1", "v2"), call("h", "v2", "v3")}),
                          "v3", 16)}}},
          {"provenance", Json::object()}};
}

}  // namespace manifests

#endif  // HWNAS_TESTS_MANIFESTS_HPP_
