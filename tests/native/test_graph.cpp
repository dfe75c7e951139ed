#include <doctest/doctest.h>

#include "failure.hpp"
#include "graph.hpp"
#include "protobufs.hpp"

using namespace hwnas::core;
using namespace protobufs;

namespace {

hwnas_status status_of(const std::string& model) {
  try {
    check_graph(model, "w.bin", 100, "g.onnx");
  } catch (const Failure& failure) {
    return failure.code();
  }
  return HWNAS_OK;
}

std::string good() { return external("w.bin", "84", "16"); }
std::string bad() { return external("../secret", "84", "16"); }

}  // namespace

TEST_CASE("weights inside the weights file pass") {
  CHECK(status_of(model_of(good())) == HWNAS_OK);
  CHECK(status_of(model_of(external("w.bin", "0", "100"))) == HWNAS_OK);
  CHECK(status_of(model_of(external("w.bin", "100", "0"))) == HWNAS_OK);
  const std::string inline_tensor = number(1, 1) + number(2, 1) + bytes(9, "abcd");
  CHECK(status_of(model_of(inline_tensor)) == HWNAS_OK);
  CHECK(status_of(model_of_graph("")) == HWNAS_OK);
}

TEST_CASE("weights outside it are refused") {
  CHECK(status_of(model_of(bad())) == HWNAS_ERROR_UNSAFE_PATH);
  CHECK(status_of(model_of(external("/etc/passwd", "0", "1"))) == HWNAS_ERROR_UNSAFE_PATH);
  CHECK(status_of(model_of(external("*/_ORT_MEM_ADDR_/*", "0", "1"))) == HWNAS_ERROR_UNSAFE_PATH);
  CHECK(status_of(model_of(number(14, 1))) == HWNAS_ERROR_UNSAFE_PATH);
  for (const auto& [offset, length] : {std::pair{"84", "17"}, {"101", "0"}, {"-1", "4"},
                                       {"18446744073709551615", "2"}, {"0", "99999999999999999999"},
                                       {"0", ""}, {"", "1"}, {" 1", "1"}, {"1", "1 "}, {"0x1", "1"},
                                       {"+1", "1"}}) {
    CAPTURE(offset);
    CAPTURE(length);
    CHECK(status_of(model_of(external("w.bin", offset, length))) == HWNAS_ERROR_BUNDLE);
  }
}

TEST_CASE("entries that are missing, doubled or unknown are refused") {
  const std::string location = entry("location", "w.bin"), length = entry("length", "4");
  CHECK(status_of(model_of(location + length)) == HWNAS_OK);  // even where it does not say external
  CHECK(status_of(model_of(location + number(14, 1))) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(model_of(location + location + length)) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(model_of(location + length + entry("basepath", "/"))) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(model_of(location + length + bytes(13, bytes(1, "x")))) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(model_of(location + length + number(13, 1))) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(model_of(location + length + number(14, (1ull << 32) + 1))) ==
        HWNAS_ERROR_BUNDLE);
}

TEST_CASE("every place that a tensor can be in is looked at") {
  const std::string in_attribute = bytes(1, bytes(5, bytes(5, bad())));
  const std::string graph = bytes(5, bad());
  for (const std::string& model :
       {model_of_graph(in_attribute),                                // a node's attribute
        model_of_graph(bytes(1, bytes(5, bytes(10, bad())))),        // a list of tensors
        model_of_graph(bytes(1, bytes(5, bytes(6, graph)))),         // a subgraph
        model_of_graph(bytes(1, bytes(5, bytes(11, graph)))),        // a list of subgraphs
        model_of_graph(bytes(1, bytes(5, bytes(22, bytes(1, bad()))))),  // sparse
        model_of_graph(bytes(1, bytes(5, bytes(23, bytes(2, bad()))))),
        model_of_graph(bytes(15, bytes(1, bad()))),
        model_of_graph("") + bytes(25, bytes(7, bytes(5, bytes(5, bad())))),  // a function
        model_of_graph("") + bytes(25, bytes(11, bytes(5, bad()))),
        model_of_graph("") + bytes(20, bytes(2, graph))}) {  // training
    CHECK(status_of(model) == HWNAS_ERROR_UNSAFE_PATH);
  }
}

TEST_CASE("parts that a reader would merge are refused") {
  const std::string graph = bytes(5, good());
  CHECK(status_of(model_of_graph(graph) + bytes(7, graph)) == HWNAS_ERROR_BUNDLE);
  const std::string twice = bytes(5, good()) + bytes(5, good());
  CHECK(status_of(model_of_graph(bytes(1, bytes(5, twice)))) == HWNAS_ERROR_BUNDLE);
}

TEST_CASE("no bytes make it read too far or too deep") {
  CHECK(status_of("") == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(std::string(20, '\xff')) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(varint(7 << 3 | 2) + varint(UINT64_MAX)) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(varint(7 << 3 | 3)) == HWNAS_ERROR_BUNDLE);
  CHECK(status_of(std::string("\0\0", 2)) == HWNAS_ERROR_BUNDLE);
  std::string deep = bytes(5, good());
  for (int i = 0; i < 20; ++i) deep = bytes(1, bytes(5, bytes(6, deep)));
  CHECK(status_of(model_of_graph(deep)) == HWNAS_OK);
  for (int i = 0; i < 3000; ++i) deep = bytes(1, bytes(5, bytes(6, deep)));
  CHECK(status_of(model_of_graph(deep)) == HWNAS_ERROR_BUNDLE);
  const std::string model = model_of_graph(bytes(1, bytes(5, bytes(5, good()))) + bytes(5, good()));
  for (std::size_t length = 0; length < model.size(); ++length) status_of(model.substr(0, length));
  for (std::size_t i = 0; i < model.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = model;
      changed[i] = static_cast<char>(value);
      status_of(changed);
    }
  }
}
