// run_cpp BUNDLE INPUTS OUTPUTS: what run.c does, through the C++ interface.
#include <cstdio>
#include <fstream>
#include <vector>

#include "hwnas/switcher.hpp"

namespace {

using Tensor = std::vector<char>;

std::vector<Tensor> allocate(const std::vector<hwnas::TensorSpec>& specs) {
  std::vector<Tensor> tensors;
  for (const hwnas::TensorSpec& spec : specs) tensors.emplace_back(spec.bytes());
  return tensors;
}

bool run_all(hwnas::Switcher& switcher, const char* from, const char* to) {
  std::vector<Tensor> inputs = allocate(switcher.inputs());
  std::vector<Tensor> outputs = allocate(switcher.outputs());
  std::ifstream in(from, std::ios::binary);
  std::vector<const void*> reads;
  for (Tensor& tensor : inputs) {
    in.read(tensor.data(), static_cast<std::streamsize>(tensor.size()));
    reads.push_back(tensor.data());
  }
  std::vector<void*> writes;
  for (Tensor& tensor : outputs) writes.push_back(tensor.data());

  std::ofstream out(to, std::ios::binary);
  for (const std::string& name : switcher.names()) {
    switcher.set_current(name);
    switcher.run(reads, writes);
    std::size_t i = 0;
    for (const hwnas::TensorSpec& spec : switcher.outputs(switcher.find(name))) {
      out.write(outputs[i++].data(), static_cast<std::streamsize>(spec.bytes()));
    }
  }
  return in.good() && out.flush().good();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  try {
    hwnas::Switcher switcher(argv[1]);
    return run_all(switcher, argv[2], argv[3]) ? 0 : 1;
  } catch (const hwnas::Error& error) {
    std::fprintf(stderr, "%s; %s\n", error.what(), error.fix().c_str());
    return 1;
  }
}
