# SPDX-License-Identifier: Apache-2.0
# The control socket that airctl talks to.
find_package(spdlog REQUIRED)

add_library(airstore_broker_control STATIC
  ${CMAKE_CURRENT_LIST_DIR}/control_convert.cc
  ${CMAKE_CURRENT_LIST_DIR}/control_requests.cc
  ${CMAKE_CURRENT_LIST_DIR}/control_server.cc
  ${CMAKE_CURRENT_LIST_DIR}/problems.cc)
target_link_libraries(airstore_broker_control
  PRIVATE airstore_options airstore_broker_host airstore_shm
  PUBLIC airstore_proto_control spdlog::spdlog)

# Numbers for Prometheus over HTTP, of airstored and of the gateway. Of its library only the core,
# which writes the text.
pkg_check_modules(PROMETHEUS REQUIRED IMPORTED_TARGET prometheus-cpp-core)
add_library(airstore_metrics STATIC
  ${CMAKE_CURRENT_LIST_DIR}/metrics_families.cc
  ${CMAKE_CURRENT_LIST_DIR}/metrics_server.cc)
target_link_libraries(airstore_metrics
  PRIVATE airstore_options PUBLIC airstore_metrics_address PkgConfig::PROMETHEUS)

# The numbers of status.
add_library(airstore_broker_metrics STATIC ${CMAKE_CURRENT_LIST_DIR}/metrics.cc)
target_link_libraries(airstore_broker_metrics
  PRIVATE airstore_options airstore_broker_control airstore_broker_host airstore_shm
  PUBLIC airstore_metrics spdlog::spdlog)

find_package(nlohmann_json REQUIRED)
# Where log lines go, of airstored.
add_library(airstore_broker_log STATIC
  ${CMAKE_CURRENT_LIST_DIR}/log_format.cc ${CMAKE_CURRENT_LIST_DIR}/log_setup.cc)
target_link_libraries(airstore_broker_log
  PRIVATE airstore_options nlohmann_json::nlohmann_json PUBLIC spdlog::spdlog)
