# SPDX-License-Identifier: Apache-2.0
# The control socket that airctl talks to.
find_package(spdlog REQUIRED)

add_library(airstore_broker_control STATIC
  ${CMAKE_CURRENT_LIST_DIR}/control_convert.cc
  ${CMAKE_CURRENT_LIST_DIR}/control_requests.cc
  ${CMAKE_CURRENT_LIST_DIR}/control_server.cc)
target_link_libraries(airstore_broker_control
  PRIVATE airstore_options airstore_broker_host airstore_shm
  PUBLIC airstore_proto_control spdlog::spdlog)
