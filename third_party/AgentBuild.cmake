# The native agent, `hwnas-agent`: built where HWNAS_BUILD_AGENT is on, with what ONNX Runtime's C
# header says and nothing else. It is installed beside the sources that it was built from, under the
# name by which hwnas looks for it there.
#
# Where the header was found it is installed beside the sources: hwnas builds agents for other devices
# from there.
if(ONNXRUNTIME_INCLUDE_DIR)
  file(GLOB agent_headers "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h"
       "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_ep_c_api.h"
       "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_error_code.h")
  install(FILES ${agent_headers} DESTINATION agent/native COMPONENT python)
endif()

option(HWNAS_BUILD_AGENT "Build the native agent for this machine" OFF)
if(HWNAS_BUILD_AGENT)
  enable_language(C)
  if(NOT TARGET ONNXRuntime::headers)
    find_package(ONNXRuntime 1.12 REQUIRED)
  endif()
  set(agent_dir ${CMAKE_CURRENT_LIST_DIR}/../hwnas/agent/native)
  add_executable(
    hwnas-agent
    ${agent_dir}/agent.c
    ${agent_dir}/child.c
    ${agent_dir}/job.c
    ${agent_dir}/json.c
    ${agent_dir}/machine.c
    ${agent_dir}/measure.c
    ${agent_dir}/model.c
    ${agent_dir}/output.c
    ${agent_dir}/selftest.c
    ${agent_dir}/sha256.c
    ${agent_dir}/stats.c
    ${agent_dir}/tensors.c
    ${agent_dir}/text.c)
  set_target_properties(hwnas-agent PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)
  target_compile_definitions(hwnas-agent PRIVATE "HWNAS_VERSION=\"${PROJECT_VERSION}\"")
  target_compile_options(hwnas-agent PRIVATE -O2 -Wall -Wextra -Wpedantic -Wshadow -Werror)
  target_link_libraries(hwnas-agent PRIVATE ONNXRuntime::headers ${CMAKE_DL_LIBS} m)
  install(
    PROGRAMS $<TARGET_FILE:hwnas-agent>
    DESTINATION agent/bin
    RENAME hwnas-agent-${CMAKE_SYSTEM_PROCESSOR}
    COMPONENT agent)
endif()
