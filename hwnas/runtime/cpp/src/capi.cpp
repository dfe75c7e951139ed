// The C ABI: arguments checked, exceptions turned into codes.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>

#include "failure.hpp"
#include "hwnas/switcher.h"
#include "last_error.hpp"
#include "switcher.hpp"

using hwnas::core::guarded;
using hwnas::core::Switcher;

struct hwnas_switcher : Switcher {
  using Switcher::Switcher;
};

namespace {

void expect(bool given, const char* what) {
  if (!given) {
    hwnas::core::fail(HWNAS_ERROR_ARGUMENT, std::string(what) + " is null", "give one");
  }
}

hwnas_options complete(const hwnas_options* given) {
  hwnas_options options;
  hwnas_options_init(&options);
  if (given == nullptr) return options;
  constexpr std::size_t kFirst = offsetof(hwnas_options, verify) + sizeof given->verify;
  constexpr std::size_t kMost = 4096;  // far above any version's: it is not a size but garbage
  if (given->size < kFirst || given->size > kMost) {
    hwnas::core::fail(HWNAS_ERROR_ARGUMENT, "the options' size is not set",
                      "call hwnas_options_init first");
  }
  // A caller of another version may know fewer options, or more: those it must not have set.
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof options; i < given->size; ++i) {
    if (bytes[i] != 0) {
      hwnas::core::fail(HWNAS_ERROR_ARGUMENT, "the options set what this hwnas does not know",
                        "upgrade hwnas, or leave it zero");
    }
  }
  std::memcpy(&options, given, std::min(given->size, sizeof options));
  return options;
}

template <typename List>
auto item(const List& list, std::size_t index) {
  return index < list.size() ? &list[index] : nullptr;
}

const Switcher::Specs* specs_of(const Switcher* switcher, std::size_t subnet) {
  const auto* found = switcher == nullptr ? nullptr : item(switcher->manifest().subnets, subnet);
  return found == nullptr ? nullptr : &switcher->specs(*found);
}

}  // namespace

const char* hwnas_last_error(void) { return hwnas::core::last_cause(); }
const char* hwnas_last_fix(void) { return hwnas::core::last_fix(); }
const char* hwnas_version(void) { return HWNAS_VERSION; }
int32_t hwnas_abi_version(void) { return HWNAS_ABI_VERSION; }

hwnas_status hwnas_open(const char* path, const hwnas_options* options, hwnas_switcher** out) {
  if (out != nullptr) *out = nullptr;
  return guarded([&] {
    expect(path != nullptr, "path");
    expect(out != nullptr, "out");
    *out = new hwnas_switcher(path, complete(options));
  });
}

void hwnas_close(hwnas_switcher* switcher) { delete switcher; }

const char* hwnas_runtime_version(const hwnas_switcher* switcher) {
  return switcher == nullptr ? nullptr : switcher->runtime_version().c_str();
}

size_t hwnas_subnet_count(const hwnas_switcher* switcher) {
  return switcher == nullptr ? 0 : switcher->manifest().subnets.size();
}

const char* hwnas_subnet_name(const hwnas_switcher* switcher, size_t index) {
  if (switcher == nullptr) return nullptr;
  const auto* subnet = item(switcher->manifest().subnets, index);
  return subnet == nullptr ? nullptr : subnet->name.c_str();
}

hwnas_status hwnas_find_subnet(const hwnas_switcher* switcher, const char* name, size_t* index) {
  return guarded([&] {
    expect(switcher != nullptr, "switcher");
    expect(name != nullptr, "name");
    expect(index != nullptr, "index");
    *index = switcher->find(name);
  });
}

size_t hwnas_current(const hwnas_switcher* switcher) {
  return switcher == nullptr ? 0 : switcher->current();
}

hwnas_status hwnas_set_current(hwnas_switcher* switcher, size_t index) {
  return guarded([&] {
    expect(switcher != nullptr, "switcher");
    switcher->set_current(index);
  });
}

size_t hwnas_input_count(const hwnas_switcher* switcher) {
  return switcher == nullptr ? 0 : switcher->network().inputs.size();
}

const hwnas_tensor_spec* hwnas_input(const hwnas_switcher* switcher, size_t index) {
  const auto* found = switcher == nullptr ? nullptr : item(switcher->network().inputs, index);
  return found == nullptr ? nullptr : *found;
}

size_t hwnas_output_count(const hwnas_switcher* switcher) {
  return switcher == nullptr ? 0 : switcher->network().outputs.size();
}

const hwnas_tensor_spec* hwnas_output(const hwnas_switcher* switcher, size_t index) {
  const auto* found = switcher == nullptr ? nullptr : item(switcher->network().outputs, index);
  return found == nullptr ? nullptr : *found;
}

const hwnas_tensor_spec* hwnas_subnet_input(const hwnas_switcher* switcher, size_t subnet,
                                            size_t index) {
  const Switcher::Specs* specs = specs_of(switcher, subnet);
  return specs == nullptr ? nullptr : item(specs->inputs, index);
}

const hwnas_tensor_spec* hwnas_subnet_output(const hwnas_switcher* switcher, size_t subnet,
                                             size_t index) {
  const Switcher::Specs* specs = specs_of(switcher, subnet);
  return specs == nullptr ? nullptr : item(specs->outputs, index);
}

hwnas_status hwnas_run(hwnas_switcher* switcher, size_t subnet, const void* const* inputs,
                       void* const* outputs) {
  return guarded([&] {
    expect(switcher != nullptr, "switcher");
    expect(inputs != nullptr || switcher->network().inputs.empty(), "inputs");
    expect(outputs != nullptr, "outputs");
    switcher->run(subnet, inputs, outputs);
  });
}

hwnas_status hwnas_prepare(hwnas_switcher* switcher, size_t subnet) {
  return guarded([&] {
    expect(switcher != nullptr, "switcher");
    switcher->prepare(subnet);
  });
}

void hwnas_release_thread(hwnas_switcher* switcher) {
  if (switcher != nullptr) switcher->release_thread();
}
