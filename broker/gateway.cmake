# SPDX-License-Identifier: Apache-2.0
# The gateway behind the broker's own types: the only code of the broker that includes gRPC.
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(spdlog REQUIRED)

add_library(airstore_broker_gateway STATIC
  ${CMAKE_CURRENT_LIST_DIR}/gateway_channel.cc
  ${CMAKE_CURRENT_LIST_DIR}/grpc_admin.cc
  ${CMAKE_CURRENT_LIST_DIR}/grpc_gateway.cc
  ${CMAKE_CURRENT_LIST_DIR}/grpc_services.cc
  ${CMAKE_CURRENT_LIST_DIR}/grpc_status.cc
  ${CMAKE_CURRENT_LIST_DIR}/grpc_tool_run.cc
  ${CMAKE_CURRENT_LIST_DIR}/grpc_watch.cc
  ${CMAKE_CURRENT_LIST_DIR}/wire_decode.cc
  ${CMAKE_CURRENT_LIST_DIR}/wire_encode.cc)
target_link_libraries(airstore_broker_gateway
  PRIVATE airstore_options airstore_broker_host PkgConfig::ZSTD PkgConfig::XXHASH
  PUBLIC airstore_proto_storage airstore_proto_v1 airstore_fault_points spdlog::spdlog)
# Boost has only headers here.
target_precompile_headers(airstore_broker_gateway PRIVATE
  ${CMAKE_CURRENT_LIST_DIR}/task.h <grpcpp/grpcpp.h> <airstore/storage/v2/storage.grpc.pb.h>)
