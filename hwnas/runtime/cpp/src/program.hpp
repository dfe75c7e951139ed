// Type-checking of programs.
#ifndef HWNAS_SRC_PROGRAM_HPP_
#define HWNAS_SRC_PROGRAM_HPP_

#include <string_view>
#include <unordered_map>

#include "manifest.hpp"

namespace hwnas::core {

// The type of every value of a program; refers to the manifest that it was made from.
using ValueTypes = std::unordered_map<std::string_view, const TensorSpec*>;

// Every call gets values of the dtype and shape that it takes, each written once and before it is
// read; the subnet takes and gives what its signature says. Failure HWNAS_ERROR_BUNDLE.
ValueTypes check_subnet(const Subnet& subnet, const Manifest& manifest);

// All subnets, of which there must be at least one.
void check_subnets(const Manifest& manifest);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_PROGRAM_HPP_
