#include "plan.hpp"

#include <map>
#include <set>
#include <unordered_set>
#include <utility>
#include <vector>

namespace hwnas::core {
namespace {

struct Pool {
  std::vector<std::size_t> free;
  std::size_t made = 0;
};

}  // namespace

std::unordered_map<std::string_view, Buffer> plan_buffers(const Program& program,
                                                          const ValueTypes& types) {
  std::unordered_set<std::string_view> outside(program.inputs.begin(), program.inputs.end());
  for (const auto& [name, value] : program.outputs) outside.insert(value);
  std::unordered_map<std::string_view, std::size_t> last_use;
  for (std::size_t i = 0; i < program.calls.size(); ++i) {
    for (const std::string& name : program.calls[i].inputs) last_use[name] = i;
  }

  std::unordered_map<std::string_view, Buffer> buffers;
  std::map<std::pair<hwnas_dtype, std::vector<std::int64_t>>, Pool> pools;
  const auto pool_of = [&](const TensorSpec& type) -> Pool& {
    return pools[{type.dtype, type.shape}];
  };
  for (std::size_t i = 0; i < program.calls.size(); ++i) {
    const Call& call = program.calls[i];
    for (const std::string& name : call.outputs) {
      if (outside.count(name) > 0) continue;
      const TensorSpec& type = *types.at(name);
      Pool& pool = pool_of(type);
      std::size_t index;
      if (pool.free.empty()) {
        index = pool.made++;
      } else {
        index = pool.free.back();
        pool.free.pop_back();
      }
      buffers.emplace(name, Buffer{&type, index});
    }
    std::set<std::string_view> touched(call.inputs.begin(), call.inputs.end());
    touched.insert(call.outputs.begin(), call.outputs.end());
    for (const std::string_view name : touched) {
      const auto buffer = buffers.find(name);
      if (buffer == buffers.end()) continue;
      const auto last = last_use.find(name);
      const bool dead = last == last_use.end() || last->second == i;
      if (dead) pool_of(*buffer->second.type).free.push_back(buffer->second.index);
    }
  }
  return buffers;
}

}  // namespace hwnas::core
