#include "buffers.hpp"

#include <algorithm>

namespace hwnas::core {

Owned<OrtValue> tensor_over(const Runtime& runtime, const TensorSpec& type, void* memory) {
  OrtValue* value = nullptr;
  runtime.check(runtime.api().CreateTensorWithDataAsOrtValue(
                    runtime.cpu(), memory, type.bytes, type.shape.data(), type.shape.size(),
                    static_cast<ONNXTensorElementDataType>(type.dtype), &value),
                "make a tensor");
  return {value, runtime.api().ReleaseValue};
}

const OrtValue* Buffers::get(const Buffer& buffer) {
  Key key{buffer.type->dtype, buffer.type->shape, buffer.index};
  const auto found = made_.find(key);
  if (found != made_.end()) return found->second.tensor.get();
  const std::size_t bytes = std::max<std::size_t>(buffer.type->bytes, 1);
  std::unique_ptr<void, Free> memory(::operator new(bytes, kAlignment));
  Owned<OrtValue> tensor = tensor_over(runtime_, *buffer.type, memory.get());
  Made made{std::move(memory), std::move(tensor)};
  return made_.emplace(std::move(key), std::move(made)).first->second.tensor.get();
}

}  // namespace hwnas::core
