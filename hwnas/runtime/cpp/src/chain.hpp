// One subnet bound for one thread: its segments' sessions with their hop buffers in place.
#ifndef HWNAS_SRC_CHAIN_HPP_
#define HWNAS_SRC_CHAIN_HPP_

#include <vector>

#include "buffers.hpp"
#include "manifest.hpp"
#include "ort.hpp"

namespace hwnas::core {

// Runs the segments of one subnet in order. Belongs to one thread.
//
// Hops are bound once, here. At a run only the network's own inputs and outputs are bound, to the
// caller's memory, and only those whose address is another than at the last run.
class Chain {
 public:
  // All arguments must outlive the chain. `sessions` are by index of the segment.
  Chain(const Runtime& runtime, const Manifest& manifest, const Subnet& subnet,
        const std::vector<Owned<OrtSession>>& sessions, Buffers& buffers);

  // Failure HWNAS_ERROR_INPUT if a pointer is null, misaligned, or an output overlaps anything.
  void run(const void* const* inputs, void* const* outputs);

 private:
  struct Step {
    OrtSession* session;
    Owned<OrtIoBinding> binding;
  };

  // An input or output of a session that is bound to the caller's memory.
  struct Port {
    OrtIoBinding* binding;
    const TensorSpec* type;  // of the session's port, whose name it bears
    std::size_t index;       // in the caller's inputs or outputs
    bool is_input;           // of the caller
    bool is_read;            // by the session
    void* address;           // bound now; null: none
  };

  void add_call(const Call& call, const std::vector<Owned<OrtSession>>& sessions);
  void bind_value(OrtIoBinding* binding, const TensorSpec& port, std::string_view value,
                  bool is_read);
  void check_pointers(const void* const* inputs, void* const* outputs) const;
  void bind_port(Port& port, void* address);

  const Runtime& runtime_;
  const Manifest& manifest_;
  const Program& program_;
  const Signature& signature_;
  Buffers& buffers_;
  std::unordered_map<std::string_view, Buffer> planned_;
  std::vector<Step> steps_;
  std::vector<Port> ports_;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_CHAIN_HPP_
