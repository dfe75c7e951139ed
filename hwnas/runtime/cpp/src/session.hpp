// A segment's session: made once, run by any number of threads.
#ifndef HWNAS_SRC_SESSION_HPP_
#define HWNAS_SRC_SESSION_HPP_

#include <string>

#include "bundle.hpp"
#include "ort.hpp"

namespace hwnas::core {

// Opens a session on a segment of `bundle`. Failure HWNAS_ERROR_BUNDLE if ONNX Runtime refuses
// the graph, or it does not take and give what the manifest says.
Owned<OrtSession> open_session(const Runtime& runtime, const Environment& environment,
                               const Bundle& bundle, const Segment& segment);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_SESSION_HPP_
