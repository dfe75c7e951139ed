#include "manifest.hpp"

#include <algorithm>
#include <unordered_map>

#include "failure.hpp"
#include "json.hpp"

namespace hwnas::core {
namespace {

constexpr std::int64_t kMostBytes = (std::int64_t{1} << 62) - 1;
// Far above any real bundle, and low enough that checking all pairs ends soon.
constexpr std::size_t kMostPorts = 1024;
constexpr std::size_t kMostEntries = 65536;

using SegmentIndex = std::unordered_map<std::string_view, std::size_t>;

bool matches(std::string_view name, std::string_view others, std::size_t longest) {
  return !name.empty() && name.size() <= longest &&
         std::all_of(name.begin(), name.end(), [&](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  others.find(c) != std::string_view::npos;
         });
}

// Names become C strings.
const std::string& plain_text(const JsonReader& at) {
  const std::string& text = at.text();
  if (text.empty() || text.find('\0') != std::string::npos) at.refuse("is not a name");
  return text;
}

const std::string& hash(const JsonReader& at) {
  const std::string& text = at.text();
  const bool good = text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
  if (!good) at.refuse("is not a SHA-256 in lower-case hex");
  return text;
}

template <typename Container>
void expect_room(const JsonReader& at, const Container& found, std::size_t most) {
  if (found.size() >= most) at.refuse("has more than " + std::to_string(most) + " entries");
}

TensorSpec tensor(const JsonReader& at) {
  at.expect({"name", "dtype", "shape"});
  TensorSpec spec;
  const JsonReader name = at.at("name"), dtype = at.at("dtype"), shape = at.at("shape");
  spec.name = plain_text(name);
  const auto known = dtype_named(dtype.text());
  if (!known) dtype.refuse("is " + in_quotes(dtype.text()) + ", not a dtype that values may have");
  spec.dtype = *known;
  shape.each_item([&](const JsonReader& dim) {
    expect_room(shape, spec.shape, kHighestRank);
    spec.shape.push_back(dim.count(kMostElements));
  });
  const auto bytes = tensor_bytes(spec.dtype, spec.shape);
  if (!bytes) shape.refuse("has more than " + std::to_string(kMostElements) + " elements");
  spec.bytes = *bytes;
  return spec;
}

std::vector<TensorSpec> tensors(const JsonReader& at) {
  std::vector<TensorSpec> specs;
  at.each_item([&](const JsonReader& item) {
    expect_room(at, specs, kMostPorts);
    specs.push_back(tensor(item));
    for (std::size_t i = 0; i + 1 < specs.size(); ++i) {
      if (specs[i].name == specs.back().name) at.refuse("names one tensor twice");
    }
  });
  return specs;
}

std::vector<std::string> names(const JsonReader& at) {
  std::vector<std::string> found;
  at.each_item([&](const JsonReader& item) {
    expect_room(at, found, kMostPorts);
    found.push_back(plain_text(item));
  });
  return found;
}

BundleFile bundle_file(const JsonReader& at) {
  const JsonReader file = at.at("file"), sha256 = at.at("sha256"), bytes = at.at("bytes");
  // ONNX Runtime reads the weights by this name, and gives some names a meaning of their own: one
  // with asterisks stands for an address in memory.
  if (!matches(file.text(), "_.=/-", 400)) file.refuse("is a name that is not allowed");
  return {file.text(), hash(sha256), static_cast<std::uint64_t>(bytes.count(kMostBytes))};
}

Segment segment(const std::string& id, const JsonReader& at) {
  if (!matches(id, "_.=/-", 400)) at.refuse("has a name that is not allowed");
  at.expect({"file", "sha256", "bytes", "kind", "inputs", "outputs", "weights", "blocks?"});
  const JsonReader inputs = at.at("inputs"), outputs = at.at("outputs");
  const JsonReader weights = at.at("weights");
  weights.each_item([](const JsonReader& range) {
    range.expect({"tensor", "offset", "length"});
    const JsonReader offset = range.at("offset"), length = range.at("length");
    offset.count(kMostBytes);
    length.count(kMostBytes);
  });
  Segment found{id, bundle_file(at), tensors(inputs), tensors(outputs)};
  if (found.outputs.empty()) at.refuse("gives nothing");
  return found;
}

Call call(const JsonReader& at, const SegmentIndex& segments) {
  at.expect({"unit", "inputs", "outputs"});
  const JsonReader unit = at.at("unit"), inputs = at.at("inputs"), outputs = at.at("outputs");
  const auto found = segments.find(unit.text());
  if (found == segments.end()) {
    at.refuse("calls " + in_quotes(unit.text()) + ", which does not exist");
  }
  return {found->second, names(inputs), names(outputs)};
}

Program program(const JsonReader& at, const SegmentIndex& segments) {
  at.expect({"inputs", "calls", "outputs"});
  const JsonReader inputs = at.at("inputs"), calls = at.at("calls"), outputs = at.at("outputs");
  Program result;
  result.inputs = names(inputs);
  calls.each_item([&](const JsonReader& item) {
    expect_room(calls, result.calls, kMostEntries);
    result.calls.push_back(call(item, segments));
  });
  outputs.each_member([&](const std::string& name, const JsonReader& value) {
    expect_room(outputs, result.outputs, kMostPorts);
    result.outputs.emplace_back(name, plain_text(value));
  });
  return result;
}

// Finds out which signatures are equal: most subnets take and give what others do.
class Signatures {
 public:
  explicit Signatures(Manifest& manifest) : manifest_(manifest) {}

  std::size_t index(Signature signature) {
    std::string key;
    for (const auto* specs : {&signature.inputs, &signature.outputs}) {
      for (const TensorSpec& spec : *specs) {
        key.append(spec.name.c_str(), spec.name.size() + 1).append(spec.text()).push_back(0);
      }
      key.push_back(0);
    }
    const auto [found, is_new] = known_.emplace(std::move(key), manifest_.signatures.size());
    if (is_new) manifest_.signatures.push_back(std::move(signature));
    return found->second;
  }

  // Of a subnet, which says only what is not the network's.
  std::size_t of(const JsonReader& at) {
    if (!at.has("inputs") && !at.has("outputs")) return 0;
    Signature own = manifest_.network();
    if (at.has("inputs")) {
      const JsonReader inputs = at.at("inputs");
      own.inputs = tensors(inputs);
      expect_names(inputs, own.inputs, manifest_.network().inputs);
    }
    if (at.has("outputs")) {
      const JsonReader outputs = at.at("outputs");
      own.outputs = tensors(outputs);
      expect_names(outputs, own.outputs, manifest_.network().outputs);
    }
    return index(std::move(own));
  }

 private:
  static void expect_names(const JsonReader& at, const std::vector<TensorSpec>& own,
                           const std::vector<TensorSpec>& network) {
    const bool same =
        std::equal(own.begin(), own.end(), network.begin(), network.end(),
                   [](const TensorSpec& a, const TensorSpec& b) { return a.name == b.name; });
    if (!same) at.refuse("has other names than the network's");
  }

  Manifest& manifest_;
  std::unordered_map<std::string, std::size_t> known_;
};

Subnet subnet(const std::string& name, const JsonReader& at, const SegmentIndex& segments,
              Signatures& signatures) {
  if (!matches(name, "_.=-", 201) || name.front() == '.' || name.front() == '-') {
    at.refuse("has a name that is not allowed");
  }
  at.expect({"choices", "program", "kind", "weight_bytes", "quality?", "cost?", "inputs?",
             "outputs?"});
  const JsonReader body = at.at("program"), weight_bytes = at.at("weight_bytes");
  return {name, program(body, segments),
          static_cast<std::uint64_t>(weight_bytes.count(kMostBytes)), signatures.of(at)};
}

Finalised finalised(const JsonReader& at) {
  at.expect({"runtime", "version", "machine", "isa", "options?"});
  const JsonReader runtime = at.at("runtime"), version = at.at("version");
  const JsonReader machine = at.at("machine"), isa = at.at("isa");
  return {plain_text(runtime), plain_text(version), plain_text(machine), names(isa)};
}

void check_version(const JsonReader& root, const std::string& what) {
  root.expect_object();
  const JsonReader at = root.at("schema_version");
  const std::int64_t version = at.count(kMostBytes);
  if (version > kNewestSchema) {
    fail(HWNAS_ERROR_NEWER_SCHEMA,
         what + " has schema_version " + std::to_string(version) + ", this hwnas reads up to " +
             std::to_string(kNewestSchema),
         "upgrade hwnas");
  }
  if (version < 1) at.refuse("is not 1 or more");
}

void check_form(const JsonReader& root, const std::string& what) {
  const JsonReader form = root.at("form");
  if (form.text() != "subnets") {
    fail(HWNAS_ERROR_BUNDLE, what + " is of form " + in_quotes(form.text()) + ", not 'subnets'",
         "give the folder that 'hwnas export --to bundle' wrote");
  }
}

}  // namespace

std::size_t Signature::input_bytes() const {
  std::size_t bytes = 0;
  for (const TensorSpec& spec : inputs) bytes += spec.bytes;
  return bytes;
}

Manifest parse_manifest(std::string_view text, const std::string& what) {
  const JsonValue tree = parse_json(text, what);
  const JsonReader root(tree, what);
  check_version(root, what);
  check_form(root, what);
  root.expect({"schema_version", "hwnas", "form", "space", "inputs", "outputs", "weights",
               "blocks?", "segments", "subnets", "provenance?", "finalised?"});
  const JsonReader inputs = root.at("inputs"), outputs = root.at("outputs");
  const JsonReader weights = root.at("weights"), segments = root.at("segments");
  const JsonReader subnets = root.at("subnets");

  Manifest manifest;
  Signatures signatures(manifest);
  signatures.index({tensors(inputs), tensors(outputs)});
  weights.expect({"file", "sha256", "bytes"});
  manifest.weights = bundle_file(weights);
  segments.each_member([&](const std::string& id, const JsonReader& item) {
    expect_room(segments, manifest.segments, kMostEntries);
    manifest.segments.push_back(segment(id, item));
  });
  SegmentIndex index;
  for (std::size_t i = 0; i < manifest.segments.size(); ++i) index[manifest.segments[i].id] = i;
  subnets.each_member([&](const std::string& name, const JsonReader& item) {
    expect_room(subnets, manifest.subnets, kMostEntries);
    manifest.subnets.push_back(subnet(name, item, index, signatures));
  });
  if (root.has("finalised")) {
    const JsonReader at = root.at("finalised");
    manifest.finalised = finalised(at);
  }
  return manifest;
}

}  // namespace hwnas::core
