// Which buffer each value of a program lives in: planned once, by liveness.
#ifndef HWNAS_SRC_PLAN_HPP_
#define HWNAS_SRC_PLAN_HPP_

#include <string_view>
#include <unordered_map>

#include "program.hpp"

namespace hwnas::core {

// The `index`-th buffer of the dtype and shape of `type`.
struct Buffer {
  const TensorSpec* type;
  std::size_t index;
};

// Gives every value that is neither an input nor an output of the network a buffer.
//
// A buffer is free again after the last call that reads its value, never during it, so that no
// call reads and writes one buffer. A chain of equal hops needs two, used in turn.
std::unordered_map<std::string_view, Buffer> plan_buffers(const Program& program,
                                                          const ValueTypes& types);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_PLAN_HPP_
