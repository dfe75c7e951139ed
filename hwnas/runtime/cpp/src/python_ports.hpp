// What each subnet takes and gives, as Python sees it.
#ifndef HWNAS_PYTHON_PORTS_HPP_
#define HWNAS_PYTHON_PORTS_HPP_

#include <nanobind/nanobind.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "hwnas/switcher.h"
#include "python_arrays.hpp"

namespace hwnas::python {

struct Ports {
  std::vector<Port> inputs, outputs;
};

class SubnetPorts {
 public:
  SubnetPorts(const hwnas_switcher* switcher, const nb::list& names, nb::handle arrays)
      : names_(names) {
    // Subnets that take and give the same have the same specs, by address.
    std::map<std::pair<const void*, const void*>, std::shared_ptr<const Ports>> known;
    for (size_t subnet = 0; subnet < hwnas_subnet_count(switcher); ++subnet) {
      std::shared_ptr<const Ports>& ports = known[{hwnas_subnet_input(switcher, subnet, 0),
                                                   hwnas_subnet_output(switcher, subnet, 0)}];
      if (ports == nullptr) ports = make_ports(switcher, subnet, arrays);
      ports_.push_back(ports);
    }
    differ_ = known.size() > 1;
    for (size_t subnet = 0; differ_ && subnet < ports_.size(); ++subnet) {
      for (const Port& port : ports_[subnet]->inputs) {
        const nb::tuple kind = nb::make_tuple(port.name, port.dtype, port.shape);
        if (!takers_.contains(kind)) takers_[kind] = nb::list();
        nb::borrow<nb::list>(takers_[kind]).append(names_[subnet]);
      }
    }
  }

  const Ports& of(size_t subnet) const { return *ports_[subnet]; }

  // What hwnas/runtime/arrays.py says of subnets in its messages: nothing where all are alike.
  nb::object told_name(size_t subnet) const {
    return differ_ ? nb::object(names_[subnet]) : nb::object(nb::str(""));
  }
  const nb::dict& takers() const { return takers_; }

 private:
  static std::shared_ptr<const Ports> make_ports(const hwnas_switcher* switcher, size_t subnet,
                                                 nb::handle arrays) {
    auto made = std::make_shared<Ports>();
    for (size_t i = 0; i < hwnas_input_count(switcher); ++i) {
      made->inputs.emplace_back(*hwnas_subnet_input(switcher, subnet, i), arrays);
    }
    for (size_t i = 0; i < hwnas_output_count(switcher); ++i) {
      made->outputs.emplace_back(*hwnas_subnet_output(switcher, subnet, i), arrays);
    }
    return made;
  }

  nb::list names_;
  std::vector<std::shared_ptr<const Ports>> ports_;  // by number of the subnet
  nb::dict takers_;  // (name, dtype, shape) of an input to the subnets that take it
  bool differ_ = false;
};

}  // namespace hwnas::python

#endif  // HWNAS_PYTHON_PORTS_HPP_
