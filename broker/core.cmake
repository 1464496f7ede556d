# SPDX-License-Identifier: Apache-2.0
# Sessions, namespace, cache, write-back, mounts; and the daemon itself.
find_package(nlohmann_json REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
find_package(spdlog REQUIRED)

# The journal alone, for its tests.
add_library(airstore_broker_journal STATIC
  ${CMAKE_CURRENT_LIST_DIR}/journal.cc
  ${CMAKE_CURRENT_LIST_DIR}/journal_records.cc
  ${CMAKE_CURRENT_LIST_DIR}/journal_segment.cc
  ${CMAKE_CURRENT_LIST_DIR}/journal_state.cc
  ${CMAKE_CURRENT_LIST_DIR}/journal_sync.cc
  ${CMAKE_CURRENT_LIST_DIR}/lock_ranges.cc
  ${CMAKE_CURRENT_LIST_DIR}/lock_table.cc
  ${CMAKE_CURRENT_LIST_DIR}/session_journal.cc)
target_link_libraries(airstore_broker_journal
  PRIVATE airstore_options PkgConfig::XXHASH
  PUBLIC airstore_shm spdlog::spdlog)
if(AIRSTORE_FUZZ)
  target_compile_options(airstore_broker_journal PRIVATE -fsanitize=fuzzer-no-link)
endif()

add_library(airstore_broker_core STATIC
  ${CMAKE_CURRENT_LIST_DIR}/access_collector.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_adopt.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_dirty.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_evict.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_mount.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_recover.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_services.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_token.cc
  ${CMAKE_CURRENT_LIST_DIR}/broker_unmount.cc
  ${CMAKE_CURRENT_LIST_DIR}/call_trace.cc
  ${CMAKE_CURRENT_LIST_DIR}/call_watch.cc
  ${CMAKE_CURRENT_LIST_DIR}/clock_watch.cc
  ${CMAKE_CURRENT_LIST_DIR}/calls.cc
  ${CMAKE_CURRENT_LIST_DIR}/content_copy.cc
  ${CMAKE_CURRENT_LIST_DIR}/content_file.cc
  ${CMAKE_CURRENT_LIST_DIR}/content_seal.cc
  ${CMAKE_CURRENT_LIST_DIR}/content_upload.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_adopt.cc
  ${CMAKE_CURRENT_LIST_DIR}/append_place.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_append.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_cache.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_commit.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_copy.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_fetch.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_open.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_refused.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_remote.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_space.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_share.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_sparse.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_sync.cc
  ${CMAKE_CURRENT_LIST_DIR}/contents_write.cc
  ${CMAKE_CURRENT_LIST_DIR}/evictor.cc
  ${CMAKE_CURRENT_LIST_DIR}/frontend.cc
  ${CMAKE_CURRENT_LIST_DIR}/frontend_link.cc
  ${CMAKE_CURRENT_LIST_DIR}/handover.cc
  ${CMAKE_CURRENT_LIST_DIR}/inode_cache.cc
  ${CMAKE_CURRENT_LIST_DIR}/lane_replay.cc
  ${CMAKE_CURRENT_LIST_DIR}/locks.cc
  ${CMAKE_CURRENT_LIST_DIR}/locks_shared.cc
  ${CMAKE_CURRENT_LIST_DIR}/lost_found.cc
  ${CMAKE_CURRENT_LIST_DIR}/announced_change.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_calls.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_end.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_lane.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_status.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_device.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_notify.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_recovery.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_trace.cc
  ${CMAKE_CURRENT_LIST_DIR}/mutation_log.cc
  ${CMAKE_CURRENT_LIST_DIR}/mutation_log_expect.cc
  ${CMAKE_CURRENT_LIST_DIR}/mutation_log_send.cc
  ${CMAKE_CURRENT_LIST_DIR}/recovery.cc
  ${CMAKE_CURRENT_LIST_DIR}/remap.cc
  ${CMAKE_CURRENT_LIST_DIR}/repeated_changes.cc
  ${CMAKE_CURRENT_LIST_DIR}/replay_contents.cc
  ${CMAKE_CURRENT_LIST_DIR}/stopped_process.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_adopt.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_ledger.cc
  ${CMAKE_CURRENT_LIST_DIR}/mount_manifest.cc
  ${CMAKE_CURRENT_LIST_DIR}/notifier.cc
  ${CMAKE_CURRENT_LIST_DIR}/orphans.cc
  ${CMAKE_CURRENT_LIST_DIR}/session.cc
  ${CMAKE_CURRENT_LIST_DIR}/session_manifest.cc
  ${CMAKE_CURRENT_LIST_DIR}/session_refused.cc
  ${CMAKE_CURRENT_LIST_DIR}/spool_budget.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_aged.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_follow.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_limits.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_link.cc
  ${CMAKE_CURRENT_LIST_DIR}/spool_check.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_adopt.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_lookup.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_mutate.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_notify.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_paths.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_remote.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_rename.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_xattrs.cc
  ${CMAKE_CURRENT_LIST_DIR}/tree_zones.cc
  ${CMAKE_CURRENT_LIST_DIR}/unheard_changes.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/config_node.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/overlay.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/overlay_answers.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/overlay_listings.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/registry.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/sources_node.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/tasks_node.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/tool_server.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/tools_node.cc
  ${CMAKE_CURRENT_LIST_DIR}/virtual/virtual_tree.cc
  ${CMAKE_CURRENT_LIST_DIR}/watcher.cc
  ${CMAKE_CURRENT_LIST_DIR}/xattr_cache.cc)
target_link_libraries(airstore_broker_core
  PRIVATE airstore_options PkgConfig::XXHASH nlohmann_json::nlohmann_json
  PUBLIC airstore_broker_journal airstore_broker_host airstore_shm spdlog::spdlog)
target_precompile_headers(airstore_broker_core PRIVATE
  ${CMAKE_CURRENT_LIST_DIR}/task.h <spdlog/spdlog.h>)

add_executable(airstored ${CMAKE_CURRENT_LIST_DIR}/main.cc)
target_link_libraries(airstored PRIVATE
  airstore_options airstore_broker_core airstore_broker_control airstore_broker_gateway
  airstore_broker_log airstore_broker_metrics airstore_broker_v1_grpc)
