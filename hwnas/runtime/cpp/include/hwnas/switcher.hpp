// The switcher from C++: RAII and exceptions over the C ABI of switcher.h. Header only, C++17.
//
//   hwnas::Switcher switcher("out/");
//   switcher.set_current("d2-h16");
//   switcher.run({image.data()}, {logits.data()});
//
// Threads and ownership are as switcher.h says: all members but the destructor, the move and the
// assignment may be called from any thread at any time.
#ifndef HWNAS_SWITCHER_HPP_
#define HWNAS_SWITCHER_HPP_

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "hwnas/switcher.h"

namespace hwnas {

// What every failure throws: what() is the cause, fix() what to do about it.
class Error : public std::runtime_error {
 public:
  Error(hwnas_status code, const std::string& cause, std::string fix)
      : std::runtime_error(cause), code_(code), fix_(std::move(fix)) {}

  hwnas_status code() const noexcept { return code_; }
  const std::string& fix() const noexcept { return fix_; }

 private:
  hwnas_status code_;
  std::string fix_;
};

// Throws what the calling thread's last call failed with, unless `status` is HWNAS_OK.
inline void check(hwnas_status status) {
  if (status != HWNAS_OK) throw Error(status, hwnas_last_error(), hwnas_last_fix());
}

// As hwnas_options; empty strings are its null pointers.
struct Options {
  std::string runtime_library;
  std::string subnet;
  int threads = 1;
  bool verify = true;
};

// Name, dtype, shape and bytes of an input or output. Refers to its switcher: do not outlive it.
class TensorSpec {
 public:
  explicit TensorSpec(const hwnas_tensor_spec& spec) : spec_(&spec) {}

  std::string name() const { return spec_->name; }
  hwnas_dtype dtype() const { return spec_->dtype; }
  std::size_t bytes() const { return spec_->bytes; }
  std::vector<std::int64_t> shape() const { return {spec_->shape, spec_->shape + spec_->rank}; }

 private:
  const hwnas_tensor_spec* spec_;
};

class Switcher {
 public:
  static constexpr std::size_t kCurrent = HWNAS_CURRENT;

  explicit Switcher(const std::string& path, const Options& options = Options()) {
    hwnas_options given;
    hwnas_options_init(&given);
    given.runtime_library = null_if_empty(options.runtime_library);
    given.subnet = null_if_empty(options.subnet);
    given.threads = options.threads;
    given.verify = options.verify ? 1 : 0;
    check(hwnas_open(path.c_str(), &given, &handle_));
  }

  static Switcher open(const std::string& path, const Options& options = Options()) {
    return Switcher(path, options);
  }

  ~Switcher() { hwnas_close(handle_); }
  Switcher(const Switcher&) = delete;
  Switcher& operator=(const Switcher&) = delete;
  Switcher(Switcher&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Switcher& operator=(Switcher&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  hwnas_switcher* handle() const noexcept { return handle_; }
  std::string runtime_version() const {
    const char* version = hwnas_runtime_version(handle_);
    return version == nullptr ? "" : version;  // nothing once it was moved from
  }

  // Subnets, in the order of the manifest.
  std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (std::size_t i = 0; i < hwnas_subnet_count(handle_); ++i) {
      result.emplace_back(hwnas_subnet_name(handle_, i));
    }
    return result;
  }

  std::size_t find(const std::string& name) const {
    std::size_t index = 0;
    check(hwnas_find_subnet(handle_, name.c_str(), &index));
    return index;
  }

  std::size_t current() const noexcept { return hwnas_current(handle_); }
  void set_current(std::size_t index) { check(hwnas_set_current(handle_, index)); }
  void set_current(const std::string& name) { set_current(find(name)); }

  // Each as the subnet has it that takes or gives the most.
  std::vector<TensorSpec> inputs() const {
    std::vector<TensorSpec> result;
    for (std::size_t i = 0; i < hwnas_input_count(handle_); ++i) {
      result.emplace_back(*hwnas_input(handle_, i));
    }
    return result;
  }

  std::vector<TensorSpec> outputs() const {
    std::vector<TensorSpec> result;
    for (std::size_t i = 0; i < hwnas_output_count(handle_); ++i) {
      result.emplace_back(*hwnas_output(handle_, i));
    }
    return result;
  }

  // Those of one subnet, whose shapes may differ from the network's.
  std::vector<TensorSpec> inputs(std::size_t subnet) const {
    return specs(subnet, hwnas_input_count(handle_), hwnas_subnet_input);
  }

  std::vector<TensorSpec> outputs(std::size_t subnet) const {
    return specs(subnet, hwnas_output_count(handle_), hwnas_subnet_output);
  }

  // Runs one subnet once: one pointer per input and output, in order. See hwnas_run.
  void run(const void* const* inputs, void* const* outputs, std::size_t subnet = kCurrent) {
    check(hwnas_run(handle_, subnet, inputs, outputs));
  }

  // The same; the numbers of pointers are checked.
  void run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
           std::size_t subnet = kCurrent) {
    expect_count("inputs", inputs.size(), hwnas_input_count(handle_));
    expect_count("outputs", outputs.size(), hwnas_output_count(handle_));
    run(inputs.data(), outputs.data(), subnet);
  }

  // The same, of a subnet by name.
  void run(const std::vector<const void*>& inputs, const std::vector<void*>& outputs,
           const std::string& subnet) {
    run(inputs, outputs, find(subnet));
  }

  // Binds the calling thread's buffers now, not in its first run.
  void prepare(std::size_t subnet = kCurrent) { check(hwnas_prepare(handle_, subnet)); }

  // Gives back what the calling thread has bound.
  void release_thread() noexcept { hwnas_release_thread(handle_); }

 private:
  static const char* null_if_empty(const std::string& text) {
    return text.empty() ? nullptr : text.c_str();
  }

  template <typename Spec>
  std::vector<TensorSpec> specs(std::size_t subnet, std::size_t count, Spec spec) const {
    if (subnet >= hwnas_subnet_count(handle_)) {
      throw Error(HWNAS_ERROR_UNKNOWN_SUBNET, "unknown subnet number " + std::to_string(subnet),
                  "give a number below " + std::to_string(hwnas_subnet_count(handle_)));
    }
    std::vector<TensorSpec> result;
    for (std::size_t i = 0; i < count; ++i) result.emplace_back(*spec(handle_, subnet, i));
    return result;
  }

  static void expect_count(const char* what, std::size_t given, std::size_t wanted) {
    if (given != wanted) {
      throw Error(HWNAS_ERROR_INPUT,
                  std::to_string(given) + " " + what + " are given, the network has " +
                      std::to_string(wanted),
                  "give one pointer for each");
    }
  }

  hwnas_switcher* handle_ = nullptr;
};

}  // namespace hwnas

#endif  // HWNAS_SWITCHER_HPP_
