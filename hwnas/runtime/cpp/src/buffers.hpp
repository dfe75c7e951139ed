// Hop buffers of one thread, shared by all subnets that it runs.
#ifndef HWNAS_SRC_BUFFERS_HPP_
#define HWNAS_SRC_BUFFERS_HPP_

#include <map>
#include <memory>
#include <new>
#include <tuple>
#include <vector>

#include "ort.hpp"
#include "plan.hpp"

namespace hwnas::core {

// A tensor of ONNX Runtime over memory that stays somebody else's.
Owned<OrtValue> tensor_over(const Runtime& runtime, const TensorSpec& type, void* memory);

class Buffers {
 public:
  explicit Buffers(const Runtime& runtime) : runtime_(runtime) {}

  // The tensor of `buffer`; its memory is allocated when it is first asked for.
  const OrtValue* get(const Buffer& buffer);

 private:
  static constexpr std::align_val_t kAlignment{64};  // of a cache line, and of the widest vector

  struct Free {
    void operator()(void* memory) const { ::operator delete(memory, kAlignment); }
  };
  struct Made {
    std::unique_ptr<void, Free> memory;
    Owned<OrtValue> tensor;
  };
  using Key = std::tuple<hwnas_dtype, std::vector<std::int64_t>, std::size_t>;

  const Runtime& runtime_;
  std::map<Key, Made> made_;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_BUFFERS_HPP_
