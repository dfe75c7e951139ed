// Bundles, inputs and expected outputs that tests/native/data.py wrote to HWNAS_TEST_DATA.
//
//   CASE/bundle/             an exported bundle
//   CASE/SAMPLE.in           all inputs, one after the other; subnets that take less get what it
//                            begins with
//   CASE/SAMPLE.SUBNET.out   all outputs, one after the other, by the Python switcher
#ifndef HWNAS_TESTS_SUPPORT_HPP_
#define HWNAS_TESTS_SUPPORT_HPP_

#include <filesystem>
#include <string>
#include <vector>

#include "hwnas/switcher.hpp"

namespace support {

constexpr int kSamples = 2;

std::filesystem::path data();
std::vector<std::string> cases();
std::vector<std::string> cases_of_one_shape();
std::filesystem::path bundle(const std::string& name);
std::string read(const std::filesystem::path& path);
void write(const std::filesystem::path& path, const std::string& bytes);

// The memory of all inputs or outputs of a switcher, aligned, with pointers to each.
class Tensors {
 public:
  explicit Tensors(const std::vector<hwnas::TensorSpec>& specs);

  void fill(const std::string& bytes);
  std::string bytes() const;
  void* const* pointers() const { return pointers_.data(); }
  const void* const* inputs() const { return const_pointers_.data(); }

 private:
  std::vector<std::size_t> sizes_;
  std::vector<std::vector<double>> memory_;
  std::vector<void*> pointers_;
  std::vector<const void*> const_pointers_;
};

// A bundle's inputs, and its outputs by sample and subnet.
struct Expected {
  explicit Expected(const std::string& name, const hwnas::Switcher& switcher);

  std::vector<std::string> inputs;
  std::vector<std::vector<std::string>> outputs;
};

// What `subnet` gives for `input`, in new memory.
std::string result(hwnas::Switcher& switcher, std::size_t subnet, const std::string& input);

// A copy of a case's bundle that is gone at the end of the scope.
class Copy {
 public:
  explicit Copy(const std::string& name);
  ~Copy();
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  std::filesystem::path operator/(const std::string& file) const { return path_ / file; }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// The code that opening gives; the switcher is closed again.
hwnas_status open_status(const std::string& path, bool verify = true);

}  // namespace support

#endif  // HWNAS_TESTS_SUPPORT_HPP_
