// SPDX-License-Identifier: Apache-2.0
//
// The command line of airctl: what was asked for, and nothing done yet.
// Threads: plain values.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace airstore::airctl {

enum class Command {
  kNone,
  kMount,
  kUnmount,
  kStatus,
  kDirty,
  kFlush,
  kUpgrade,
  kRecover,
  kDoctor,
  kTrace,
  kStats,
  kTop,
  kSchema,
  kWarm,
  kLogin,
  kEvict,
  kFsck,
  kGc,
  kDebugSpool,
  kDebugJournal,
  kDebugShm,
  kDebugBundle,
  kWorkspaceCreate,
  kWorkspaceList,
  kWorkspaceDelete,
  kWorkspaceSet,
  kTokenCreate,
  kTokenList,
  kTokenRevoke,
  kAccessLog,
  kVersion,
  kCompletion,
};

struct Invocation {
  Command command = Command::kNone;
  std::string socket;
  bool json = false;

  std::string program;  // upgrade: of the new broker
  std::string gateway;
  std::string token_file;
  std::string workspace;
  std::string mountpoint;  // as typed
  std::string name;        // of a workspace, a token's id, a shell
  std::string principal;
  std::string path;                     // access-log: below this
  int64_t since_ms = 0;                 // since the epoch; 0: from the start
  uint32_t limit = 0;                   // 0: the gateway's choice
  std::optional<uint64_t> quota_bytes;  // 0: none
  std::optional<uint64_t> quota_inodes;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  bool root_squash = false;
  bool all_squash = false;
  std::optional<uint32_t> anon_uid;
  std::optional<uint32_t> anon_gid;
  bool read_only = false;
  bool allow_non_empty = false;
  bool force = false;
  bool verbose = false;
  double timeout_seconds = 0;   // 0: none
  double interval_seconds = 0;  // stats, top; 0: not given
  double slow_ms = 50;          // trace
  std::vector<std::string> ops;
  uint64_t count = 0;         // of reports; 0: without end
  bool export_items = false;  // recover: into `directory`
  bool discard_items = false;
  bool all_items = false;
  std::vector<std::string> items;  // ids
  std::string directory;
  bool repair = false;  // fsck
  bool quick = false;
  std::string state_dir;  // debug; empty: found by the socket
  std::string backend;    // "": as AIRSTORE_MOUNT_BACKEND says, else auto
  bool serve_only = false;
  bool nfs_auth_none = false;
  std::string passthrough = "auto";
  std::string fsync = "gateway";
  std::string atime = "noatime";
  // Empty, or nothing: as the broker is configured.
  std::string virtual_nodes;
  std::string compression;
  std::optional<std::string> access_session;
  std::string access_log;
};

using GetEnv = std::function<const char*(const char*)>;

// The parser with every command and flag; it fills `invocation`. Also what completions and the test
// of the manual page are made from.
std::shared_ptr<CLI::App> MakeParser(Invocation& invocation);

struct Parsed {
  std::optional<Invocation> invocation;
  // Without one: print this and leave with exit_code.
  int exit_code = 0;
  std::string text;
};
Parsed ParseCommandLine(int argc, const char* const* argv, const GetEnv& getenv);

// Where the broker listens when nobody says: root's, or the user's own when there is one.
std::string DefaultSocket(const GetEnv& getenv);

}  // namespace airstore::airctl
