#include "program.hpp"

#include <unordered_set>

#include "failure.hpp"

namespace hwnas::core {
namespace {

class Checker {
 public:
  Checker(const Subnet& subnet, const Manifest& manifest)
      : subnet_(subnet), manifest_(manifest), signature_(manifest.signature(subnet)) {}

  ValueTypes check() {
    check_inputs();
    for (const Call& call : subnet_.program.calls) check_call(call);
    check_outputs();
    return std::move(types_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    fail_bundle("subnet " + in_quotes(subnet_.name) + ": " + why);
  }

  void check_inputs() {
    const auto& names = subnet_.program.inputs;
    bool same = names.size() == signature_.inputs.size();
    for (std::size_t i = 0; same && i < names.size(); ++i) {
      same = names[i] == signature_.inputs[i].name;
      types_.emplace(names[i], &signature_.inputs[i]);
    }
    if (!same) refuse("it does not take what the network takes");
  }

  void check_call(const Call& call) {
    const Segment& segment = manifest_.segments[call.segment];
    if (call.inputs.size() != segment.inputs.size() ||
        call.outputs.size() != segment.outputs.size()) {
      refuse(in_quotes(segment.id) + " is called with a wrong number of values");
    }
    for (std::size_t i = 0; i < call.inputs.size(); ++i) {
      const auto found = types_.find(call.inputs[i]);
      if (found == types_.end()) {
        refuse(in_quotes(segment.id) + " reads " + in_quotes(call.inputs[i]) +
               ", which nothing before it writes");
      }
      if (!found->second->fits(segment.inputs[i])) {
        refuse(in_quotes(segment.id) + " takes " + segment.inputs[i].text() + " as " +
               in_quotes(segment.inputs[i].name) + ", but gets " + found->second->text());
      }
    }
    for (std::size_t i = 0; i < call.outputs.size(); ++i) {
      if (!types_.emplace(call.outputs[i], &segment.outputs[i]).second) {
        refuse(in_quotes(segment.id) + " writes " + in_quotes(call.outputs[i]) +
               ", which exists already");
      }
    }
  }

  void check_outputs() const {
    const auto& outputs = subnet_.program.outputs;
    if (outputs.size() != signature_.outputs.size()) {
      refuse("it does not give what the network gives");
    }
    std::unordered_set<std::string_view> seen(subnet_.program.inputs.begin(),
                                              subnet_.program.inputs.end());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const auto& [name, value] = outputs[i];
      const auto found = types_.find(value);
      if (found == types_.end()) {
        refuse("the output " + in_quotes(name) + " is " + in_quotes(value) +
               ", which no call writes");
      }
      if (!seen.insert(value).second) {
        refuse("the output " + in_quotes(name) + " is an input or another output");
      }
      if (name != signature_.outputs[i].name || !found->second->fits(signature_.outputs[i])) {
        refuse("it does not give what the manifest says as " + in_quotes(name));
      }
    }
  }

  const Subnet& subnet_;
  const Manifest& manifest_;
  const Signature& signature_;
  ValueTypes types_;
};

}  // namespace

ValueTypes check_subnet(const Subnet& subnet, const Manifest& manifest) {
  return Checker(subnet, manifest).check();
}

void check_subnets(const Manifest& manifest) {
  if (manifest.subnets.empty() || manifest.network().outputs.empty()) {
    fail_bundle("the bundle holds no subnet, or one without outputs");
  }
  for (const Subnet& subnet : manifest.subnets) check_subnet(subnet, manifest);
}

}  // namespace hwnas::core
