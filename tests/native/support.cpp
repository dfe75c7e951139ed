#include "support.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

namespace support {
namespace fs = std::filesystem;

fs::path data() {
  const char* folder = std::getenv("HWNAS_TEST_DATA");
  if (folder == nullptr) {
    std::puts("skipped: HWNAS_TEST_DATA does not name the folder that tests/native/data.py wrote");
    std::exit(77);
  }
  return folder;
}

std::vector<std::string> cases() {
  return {"layers", "finished", "skips", "types", "shapes", "shapes-finished"};
}

std::vector<std::string> cases_of_one_shape() { return {"layers", "finished", "skips", "types"}; }

fs::path bundle(const std::string& name) { return data() / name / "bundle"; }

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

Tensors::Tensors(const std::vector<hwnas::TensorSpec>& specs) {
  for (const auto& spec : specs) {
    sizes_.push_back(spec.bytes());
    memory_.emplace_back(spec.bytes() / sizeof(double) + 1);
  }
  for (auto& memory : memory_) {
    pointers_.push_back(memory.data());
    const_pointers_.push_back(memory.data());
  }
}

void Tensors::fill(const std::string& bytes) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < sizes_.size(); at += sizes_[i++]) {
    if (at + sizes_[i] > bytes.size()) throw std::runtime_error("too few bytes in a sample");
    std::memcpy(pointers_[i], bytes.data() + at, sizes_[i]);
  }
}

std::string Tensors::bytes() const {
  std::string all;
  for (std::size_t i = 0; i < sizes_.size(); ++i) {
    all.append(static_cast<const char*>(pointers_[i]), sizes_[i]);
  }
  return all;
}

Expected::Expected(const std::string& name, const hwnas::Switcher& switcher) {
  for (int sample = 0; sample < kSamples; ++sample) {
    const std::string stem = std::to_string(sample) + ".";
    inputs.push_back(read(data() / name / (stem + "in")));
    outputs.emplace_back();
    for (const std::string& subnet : switcher.names()) {
      outputs.back().push_back(read(data() / name / (stem + subnet + ".out")));
    }
  }
}

std::string result(hwnas::Switcher& switcher, std::size_t subnet, const std::string& input) {
  Tensors in(switcher.inputs(subnet)), out(switcher.outputs(subnet));
  in.fill(input);
  switcher.run(in.inputs(), out.pointers(), subnet);
  return out.bytes();
}

Copy::Copy(const std::string& name) {
  std::string pattern = (fs::temp_directory_path() / "hwnas-native-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = pattern;
  fs::copy(bundle(name), path_, fs::copy_options::recursive);
}

Copy::~Copy() { fs::remove_all(path_); }

hwnas_status open_status(const std::string& path, bool verify) {
  hwnas_options options;
  hwnas_options_init(&options);
  options.verify = verify ? 1 : 0;
  hwnas_switcher* switcher = nullptr;
  const hwnas_status status = hwnas_open(path.c_str(), &options, &switcher);
  hwnas_close(switcher);
  return status;
}

}  // namespace support
