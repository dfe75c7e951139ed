#include "switcher.hpp"

#include <algorithm>
#include <exception>
#include <future>
#include <string_view>
#include <system_error>
#include <utility>

#include "failure.hpp"
#include "machine.hpp"
#include "session.hpp"

namespace hwnas::core {
namespace {

int checked_threads(int threads) {
  constexpr int kMost = 1024;
  if (threads < 1 || threads > kMost) {
    fail(HWNAS_ERROR_ARGUMENT, "threads is " + std::to_string(threads),
         "give a number from 1 to " + std::to_string(kMost));
  }
  return threads;
}

[[noreturn]] void fail_unknown(const std::string& what, const Manifest& manifest) {
  std::vector<std::string_view> names;
  for (const Subnet& subnet : manifest.subnets) names.push_back(subnet.name);
  fail(HWNAS_ERROR_UNKNOWN_SUBNET, "unknown subnet " + what, "known: " + shortened(names));
}

std::vector<hwnas_tensor_spec> public_specs(const std::vector<TensorSpec>& specs) {
  std::vector<hwnas_tensor_spec> result;
  for (const TensorSpec& spec : specs) {
    result.push_back({spec.name.c_str(), spec.dtype, static_cast<std::int32_t>(spec.shape.size()),
                      spec.shape.data(), spec.bytes});
  }
  return result;
}

std::vector<Switcher::Specs> public_signatures(const Manifest& manifest) {
  std::vector<Switcher::Specs> result;
  for (const Signature& signature : manifest.signatures) {
    result.push_back({public_specs(signature.inputs), public_specs(signature.outputs)});
  }
  return result;
}

// Of several as large, the network's own.
std::vector<const hwnas_tensor_spec*> largest_specs(
    const std::vector<Switcher::Specs>& all, std::vector<hwnas_tensor_spec> Switcher::Specs::*side) {
  std::vector<const hwnas_tensor_spec*> result;
  for (const hwnas_tensor_spec& spec : all.front().*side) result.push_back(&spec);
  for (const Switcher::Specs& specs : all) {
    for (std::size_t i = 0; i < result.size(); ++i) {
      const hwnas_tensor_spec& own = (specs.*side)[i];
      if (own.bytes > result[i]->bytes) result[i] = &own;
    }
  }
  return result;
}

// The subnet with the most weights; of several, the one with the largest inputs.
std::size_t largest(const Manifest& manifest) {
  const auto size = [&](const Subnet& subnet) {
    return std::pair(subnet.weight_bytes, manifest.signature(subnet).input_bytes());
  };
  const auto& subnets = manifest.subnets;
  const auto found =
      std::max_element(subnets.begin(), subnets.end(),
                       [&](const Subnet& a, const Subnet& b) { return size(a) < size(b); });
  return static_cast<std::size_t>(found - subnets.begin());
}

}  // namespace

Switcher::Switcher(const std::string& path, const hwnas_options& options)
    : bundle_(path, options.verify != 0),
      runtime_(Runtime::load(options.runtime_library)),
      environment_(runtime_, checked_threads(options.threads)),
      specs_(public_signatures(manifest())),
      network_{largest_specs(specs_, &Specs::inputs), largest_specs(specs_, &Specs::outputs)},
      states_(std::make_shared<ThreadStates>(runtime_, manifest().subnets.size())) {
  current_ = options.subnet != nullptr ? find(options.subnet) : largest(manifest());
  if (manifest().finalised) check_finalised(*manifest().finalised, runtime_.version(), path);
  open_sessions();
}

Switcher::~Switcher() {
  states_->release_all();
  // Releasing a session joins its threads, which a fork does not have: that would never end.
  if (environment_.threads() > 1 && environment_.is_forked()) {
    for (Owned<OrtSession>& session : sessions_) session.release();
  }
}

void Switcher::open_sessions() {
  // Hashing the weights takes about as long as making the sessions, which only map them.
  std::future<void> hashing;
  try {
    hashing = std::async(std::launch::async, [this] { bundle_.check_weights(); });
  } catch (const std::system_error&) {  // no thread to be had
    bundle_.check_weights();
  }
  std::exception_ptr refused;
  try {
    for (const Segment& segment : manifest().segments) {
      sessions_.push_back(open_session(runtime_, environment_, bundle_, segment));
    }
  } catch (...) {
    refused = std::current_exception();
  }
  // First: that the weights were altered explains whatever ONNX Runtime says of them.
  if (hashing.valid()) hashing.get();
  if (refused) std::rethrow_exception(refused);
  bundle_.expect_weights_unchanged();
}

std::size_t Switcher::find(const std::string& name) const {
  const auto& subnets = manifest().subnets;
  for (std::size_t i = 0; i < subnets.size(); ++i) {
    if (subnets[i].name == name) return i;
  }
  fail_unknown(in_quotes(name), manifest());
}

std::size_t Switcher::checked(std::size_t index) const {
  if (index >= manifest().subnets.size()) {
    fail_unknown("number " + std::to_string(index), manifest());
  }
  return index;
}

void Switcher::set_current(std::size_t index) {
  current_.store(checked(index), std::memory_order_relaxed);
}

Chain& Switcher::chain(std::size_t subnet) {
  const std::size_t index = subnet == HWNAS_CURRENT ? current() : checked(subnet);
  ThreadState& state = states_->mine();
  std::unique_ptr<Chain>& chain = state.chains[index];
  if (chain == nullptr) {
    chain = std::make_unique<Chain>(runtime_, manifest(), manifest().subnets[index], sessions_,
                                    state.buffers);
  }
  return *chain;
}

}  // namespace hwnas::core
