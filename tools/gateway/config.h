// SPDX-License-Identifier: Apache-2.0
//
// The gateway's configuration file (TOML): what it offers to v1 clients besides files. Read once,
// at the start; man page airstore-gateway.conf(5).
//
// Threads: a plain value.
// Fails: EINVAL with file and line; there are no keys that are passed over.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "shm/base/result.h"
#include "tools/gateway/tools/command_config.h"

namespace airstore::gateway {

// Names of workspaces; none: all.
using WorkspaceNames = std::set<std::string>;

struct SourceConfig {
  std::string name;  // of the integration: a directory in mounts
  std::string kind;  // "maildir" or "git"
  std::string path;
  std::string title;
};

template <typename T>
struct Offered {
  T what;
  WorkspaceNames workspaces;

  bool IsFor(const std::string& workspace) const {
    return workspaces.empty() || workspaces.contains(workspace);
  }
};

struct TaskConfig {
  bool enabled = false;  // CreateTask runs commands of clients on this host
  std::string directory;
  std::vector<std::string> shell = {"/bin/sh", "-c"};  // for tasks that are a text
  uint32_t most_running = 16;
  uint64_t log_bytes = 6ull << 20;  // of one task, read as a whole; more is dropped
};

struct Config {
  std::vector<Offered<CommandConfig>> tools;
  std::vector<Offered<CommandConfig>> mcp;
  std::vector<Offered<SourceConfig>> sources;
  TaskConfig tasks;
  std::vector<std::string> distill;  // a program that makes texts shorter, and its arguments
  bool access_log = true;            // mounts are to tell what is read
  // A write at offset 0 replaces the whole file, as the first gateways did. Their own clients do
  // not say otherwise that a file was truncated.
  bool offset_zero_replaces = false;
};

Result<Config> ReadConfigFile(const std::string& path);

// The keys that there are, by their tables, as the manual page has them: "" for the file's own,
// "[tasks]", "[[tools]]", ...
std::map<std::string, std::set<std::string>> ConfigKeys();

}  // namespace airstore::gateway
