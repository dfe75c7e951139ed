#include "chain.hpp"

#include <cstdint>
#include <string>

#include "failure.hpp"
#include "program.hpp"

namespace hwnas::core {
namespace {

std::uintptr_t number(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

bool overlap(const void* a, std::size_t a_bytes, const void* b, std::size_t b_bytes) {
  return number(a) < number(b) + b_bytes && number(b) < number(a) + a_bytes;
}

void check_pointer(const void* address, const TensorSpec& spec, const char* what) {
  if (spec.bytes == 0) return;
  if (address == nullptr) {
    fail(HWNAS_ERROR_INPUT, std::string("the ") + what + " " + in_quotes(spec.name) + " is missing",
         "give a pointer to " + spec.text() + ", " + std::to_string(spec.bytes) + " bytes");
  }
  const std::size_t alignment = dtype_size(spec.dtype);
  if (number(address) % alignment != 0) {
    fail(HWNAS_ERROR_INPUT,
         std::string("the ") + what + " " + in_quotes(spec.name) + " is misaligned",
         "give an address that is a multiple of " + std::to_string(alignment));
  }
}

}  // namespace

Chain::Chain(const Runtime& runtime, const Manifest& manifest, const Subnet& subnet,
             const std::vector<Owned<OrtSession>>& sessions, Buffers& buffers)
    : runtime_(runtime),
      manifest_(manifest),
      program_(subnet.program),
      signature_(manifest.signature(subnet)),
      buffers_(buffers),
      planned_(plan_buffers(subnet.program, check_subnet(subnet, manifest))) {
  for (const Call& call : program_.calls) add_call(call, sessions);
  planned_ = {};
}

void Chain::add_call(const Call& call, const std::vector<Owned<OrtSession>>& sessions) {
  const Segment& segment = manifest_.segments[call.segment];
  OrtSession* session = sessions[call.segment].get();
  OrtIoBinding* made = nullptr;
  runtime_.check(runtime_.api().CreateIoBinding(session, &made), "make a binding");
  Owned<OrtIoBinding> binding(made, runtime_.api().ReleaseIoBinding);
  for (std::size_t i = 0; i < call.inputs.size(); ++i) {
    bind_value(made, segment.inputs[i], call.inputs[i], true);
  }
  for (std::size_t i = 0; i < call.outputs.size(); ++i) {
    bind_value(made, segment.outputs[i], call.outputs[i], false);
  }
  steps_.push_back({session, std::move(binding)});
}

void Chain::bind_value(OrtIoBinding* binding, const TensorSpec& port, std::string_view value,
                       bool is_read) {
  const auto planned = planned_.find(value);
  if (planned != planned_.end()) {
    const OrtApi& api = runtime_.api();
    const auto bind = is_read ? api.BindInput : api.BindOutput;
    runtime_.check(bind(binding, port.name.c_str(), buffers_.get(planned->second)), "bind a hop");
    return;
  }
  for (std::size_t i = 0; i < program_.inputs.size(); ++i) {
    if (program_.inputs[i] == value) ports_.push_back({binding, &port, i, true, is_read, nullptr});
  }
  for (std::size_t i = 0; i < program_.outputs.size(); ++i) {
    if (program_.outputs[i].second == value) {
      ports_.push_back({binding, &port, i, false, is_read, nullptr});
    }
  }
}

void Chain::run(const void* const* inputs, void* const* outputs) {
  static char nothing = 0;  // what tensors without an element are bound to
  bool checked = false;
  for (Port& port : ports_) {
    // Only read, but ONNX Runtime has no tensor over constant memory.
    void* address = port.is_input ? const_cast<void*>(inputs[port.index]) : outputs[port.index];
    if (port.type->bytes == 0) address = &nothing;
    if (address == port.address && address != nullptr) continue;
    // One address being new, all are looked at: what is bound already was looked at then.
    if (!checked) check_pointers(inputs, outputs);
    checked = true;
    bind_port(port, address);
  }
  const OrtApi& api = runtime_.api();
  for (const Step& step : steps_) {
    OrtStatus* status =
        api.RunWithBinding(step.session, runtime_.run_options(), step.binding.get());
    if (status != nullptr) {
      runtime_.check(status, "run a segment", HWNAS_ERROR_RUNTIME,
                     "check the inputs' values; if they are right, make the bundle again");
    }
  }
}

void Chain::check_pointers(const void* const* inputs, void* const* outputs) const {
  const auto& takes = signature_.inputs;
  const auto& gives = signature_.outputs;
  for (std::size_t i = 0; i < takes.size(); ++i) check_pointer(inputs[i], takes[i], "input");
  for (std::size_t i = 0; i < gives.size(); ++i) {
    check_pointer(outputs[i], gives[i], "output");
    bool apart = true;
    for (std::size_t k = 0; k < takes.size(); ++k) {
      apart = apart && !overlap(outputs[i], gives[i].bytes, inputs[k], takes[k].bytes);
    }
    for (std::size_t k = 0; k < i; ++k) {
      apart = apart && !overlap(outputs[i], gives[i].bytes, outputs[k], gives[k].bytes);
    }
    if (!apart) {
      fail(HWNAS_ERROR_INPUT,
           "the memory for output " + in_quotes(gives[i].name) + " overlaps an input or an output",
           "give each output memory of its own");
    }
  }
}

void Chain::bind_port(Port& port, void* address) {
  port.address = nullptr;  // whatever happens below, this port is bound again before it is used
  const Owned<OrtValue> tensor = tensor_over(runtime_, *port.type, address);
  const auto bind = port.is_read ? runtime_.api().BindInput : runtime_.api().BindOutput;
  runtime_.check(bind(port.binding, port.type->name.c_str(), tensor.get()), "bind a tensor");
  port.address = address;
}

}  // namespace hwnas::core
