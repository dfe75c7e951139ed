// A look into a serialised ONNX model before ONNX Runtime gets it: where its weights lie.
#ifndef HWNAS_SRC_GRAPH_HPP_
#define HWNAS_SRC_GRAPH_HPP_

#include <cstdint>
#include <string>
#include <string_view>

namespace hwnas::core {

constexpr std::uint64_t kLargestGraph = 0x7fffffff;  // bytes: the limit of the format itself

// Checks that every tensor of the model, also in subgraphs and functions, is inline or lies
// inside the first `size` bytes of the file `weights`. `what` names the model in messages.
//
// Failure HWNAS_ERROR_UNSAFE_PATH if a tensor names another file; HWNAS_ERROR_BUNDLE if one lies
// outside, or the bytes are no model.
void check_graph(std::string_view model, const std::string& weights, std::uint64_t size,
                 const std::string& what);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_GRAPH_HPP_
