// The switcher behind the C ABI's handle.
#ifndef HWNAS_SRC_SWITCHER_HPP_
#define HWNAS_SRC_SWITCHER_HPP_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "ort.hpp"
#include "thread_states.hpp"

namespace hwnas::core {

class Switcher {
 public:
  Switcher(const std::string& path, const hwnas_options& options);
  ~Switcher();
  Switcher(const Switcher&) = delete;
  Switcher& operator=(const Switcher&) = delete;

  const Manifest& manifest() const { return bundle_.manifest(); }
  const std::string& runtime_version() const { return runtime_.version(); }

  struct Specs {
    std::vector<hwnas_tensor_spec> inputs;
    std::vector<hwnas_tensor_spec> outputs;
  };
  // Each input and output as the subnet has it that takes or gives the most.
  struct Network {
    std::vector<const hwnas_tensor_spec*> inputs;
    std::vector<const hwnas_tensor_spec*> outputs;
  };
  const Network& network() const { return network_; }
  const Specs& specs(const Subnet& subnet) const { return specs_[subnet.signature]; }

  // Failure HWNAS_ERROR_UNKNOWN_SUBNET lists those that there are.
  std::size_t find(const std::string& name) const;

  std::size_t current() const { return current_.load(std::memory_order_relaxed); }
  void set_current(std::size_t index);

  void run(std::size_t subnet, const void* const* inputs, void* const* outputs) {
    chain(subnet).run(inputs, outputs);
  }
  void prepare(std::size_t subnet) { chain(subnet); }
  void release_thread() { states_->release_mine(); }

 private:
  Chain& chain(std::size_t subnet);  // the calling thread's; made at its first use
  void open_sessions();
  std::size_t checked(std::size_t index) const;

  Bundle bundle_;
  Runtime& runtime_;
  Environment environment_;
  std::vector<Owned<OrtSession>> sessions_;  // by index of the segment
  const std::vector<Specs> specs_;  // by index of the signature
  const Network network_;
  std::shared_ptr<ThreadStates> states_;
  // Relaxed is enough: no other memory is handed over with it.
  std::atomic<std::size_t> current_{0};
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_SWITCHER_HPP_
