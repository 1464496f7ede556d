# SPDX-License-Identifier: Apache-2.0
# Gateways that speak v1, behind broker/gateway.h; their gRPC is in a library of its own.
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)

add_library(airstore_broker_v1 STATIC
  ${CMAKE_CURRENT_LIST_DIR}/aging.cc
  ${CMAKE_CURRENT_LIST_DIR}/applier.cc
  ${CMAKE_CURRENT_LIST_DIR}/block_store.cc
  ${CMAKE_CURRENT_LIST_DIR}/content_writer.cc
  ${CMAKE_CURRENT_LIST_DIR}/directory_id.cc
  ${CMAKE_CURRENT_LIST_DIR}/metadata_client.cc
  ${CMAKE_CURRENT_LIST_DIR}/negotiated_gateway.cc
  ${CMAKE_CURRENT_LIST_DIR}/path_map.cc
  ${CMAKE_CURRENT_LIST_DIR}/record_file.cc
  ${CMAKE_CURRENT_LIST_DIR}/refusal.cc
  ${CMAKE_CURRENT_LIST_DIR}/renamer.cc
  ${CMAKE_CURRENT_LIST_DIR}/resolver.cc
  ${CMAKE_CURRENT_LIST_DIR}/session_state.cc
  ${CMAKE_CURRENT_LIST_DIR}/site.cc
  ${CMAKE_CURRENT_LIST_DIR}/v1_gateway.cc)
target_link_libraries(airstore_broker_v1
  PRIVATE airstore_options PkgConfig::CRYPTO PkgConfig::XXHASH
  PUBLIC airstore_broker_host airstore_shm spdlog::spdlog)
target_precompile_headers(airstore_broker_v1 PRIVATE
  ${CMAKE_CURRENT_LIST_DIR}/../task.h <spdlog/spdlog.h>)

add_library(airstore_broker_v1_grpc STATIC
  ${CMAKE_CURRENT_LIST_DIR}/grpc_context_client.cc
  ${CMAKE_CURRENT_LIST_DIR}/grpc_metadata_engine.cc)
target_link_libraries(airstore_broker_v1_grpc
  PRIVATE airstore_options
  PUBLIC airstore_broker_v1 airstore_broker_gateway airstore_proto_v1)
