# SPDX-License-Identifier: Apache-2.0
# Processes, descriptors, options: what needs neither gRPC nor sessions.
add_library(airstore_metrics_address STATIC ${CMAKE_CURRENT_LIST_DIR}/metrics_address.cc)
target_link_libraries(airstore_metrics_address PRIVATE airstore_options)
add_library(airstore_broker_host STATIC
  ${CMAKE_CURRENT_LIST_DIR}/as_caller.cc
  ${CMAKE_CURRENT_LIST_DIR}/gateway_address.cc
  ${CMAKE_CURRENT_LIST_DIR}/control_socket.cc
  ${CMAKE_CURRENT_LIST_DIR}/durable_file.cc
  ${CMAKE_CURRENT_LIST_DIR}/event_loop.cc
  ${CMAKE_CURRENT_LIST_DIR}/fuse_device.cc
  ${CMAKE_CURRENT_LIST_DIR}/fuse_mount.cc
  ${CMAKE_CURRENT_LIST_DIR}/names.cc
  ${CMAKE_CURRENT_LIST_DIR}/nfs_export.cc
  ${CMAKE_CURRENT_LIST_DIR}/nfs_mount.cc
  ${CMAKE_CURRENT_LIST_DIR}/nfs_names.cc
  ${CMAKE_CURRENT_LIST_DIR}/launcher.cc
  ${CMAKE_CURRENT_LIST_DIR}/left_clients.cc
  ${CMAKE_CURRENT_LIST_DIR}/options.cc
  ${CMAKE_CURRENT_LIST_DIR}/options_file.cc
  ${CMAKE_CURRENT_LIST_DIR}/options_flags.cc
  ${CMAKE_CURRENT_LIST_DIR}/proc_mounts.cc
  ${CMAKE_CURRENT_LIST_DIR}/process_groups.cc
  ${CMAKE_CURRENT_LIST_DIR}/running_files.cc
  ${CMAKE_CURRENT_LIST_DIR}/restart_policy.cc
  ${CMAKE_CURRENT_LIST_DIR}/run_program.cc
  ${CMAKE_CURRENT_LIST_DIR}/service_manager.cc
  ${CMAKE_CURRENT_LIST_DIR}/state_dir.cc
  ${CMAKE_CURRENT_LIST_DIR}/trace_settings.cc)
target_link_libraries(airstore_broker_host
  PRIVATE airstore_options airstore_siphash airstore_descriptor_message PUBLIC airstore_metrics_address)
