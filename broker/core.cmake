# SPDX-License-Identifier: Apache-2.0
# Sessions, namespace, cache, write-back, mounts; and the daemon itself.
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(spdlog REQUIRED)

add_library(airstore_broker_core STATIC
  ${CMAKE_CURRENT_LIST_DIR}/broker.cc
  ${CMAKE_CURRENT_LIST_DIR}/calls.cc
  ${CMAKE_CURRENT_LIST_DIR}/content_file.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_commit.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_fetch.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_open.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_remote.cc
  ${CMAKE_CURRENT_LIST_DIR}/inode_cache.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount.cc
  ${CMAKE_CURRENT_LIST_DIR}/mutation_log.cc
  ${CMAKE_CURRENT_LIST_DIR}/session.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_lookup.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_mutate.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_remote.cc
  ${CMAKE_CURRENT_LIST_DIR}/watcher.cc)
target_link_libraries(airstore_broker_core
  PRIVATE airstore_options PkgConfig::XXHASH
  PUBLIC airstore_broker_host airstore_shm spdlog::spdlog)
target_precompile_headers(airstore_broker_core PRIVATE
  ${CMAKE_CURRENT_LIST_DIR}/task.h <spdlog/spdlog.h>)

add_executable(airstored ${CMAKE_CURRENT_LIST_DIR}/main.cc)
target_link_libraries(airstored PRIVATE
  airstore_options airstore_broker_core airstore_broker_control airstore_broker_gateway)
