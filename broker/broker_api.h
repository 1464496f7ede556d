// SPDX-License-Identifier: Apache-2.0
//
// BrokerApi: what the control server asks of the broker, in plain types.
// Threads: the event loop.
#pragma once

#include <unistd.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/call_trace.h"
#include "broker/task.h"
#include "shm/base/result.h"
#include "shm/base/wipe.h"

namespace airstore::broker {

// Mirrors airstore.control.v1.FailureKind.
enum class FailureKind {
  kInternal,
  kUsage,
  kNotFound,
  kBusy,
  kPermission,
  kUnreachable,
  kHost,
  kDirty,
  kExists,
  kFuseUnavailable,
  kNfsUnavailable,
  kNoBackend,
  kNfsFallbackFailed,
};
struct Failure {
  FailureKind kind = FailureKind::kInternal;
  std::string message;
  std::string advice;
};

struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t pid = 0;
  std::vector<uint32_t> groups = {};      // supplementary
  std::shared_ptr<const bool> gone = {};  // set when nobody waits for the answer any more

  bool waits() const { return !gone || !*gone; }
};

// Root, and whose broker it is.
inline bool Governs(const Caller& caller) { return caller.uid == 0 || caller.uid == geteuid(); }

// Who acts as the anonymous user, whatever rights they have on this host.
enum class SquashWho { kNobody, kRoot, kAll };
inline constexpr uint32_t kAnonymous = 65534;

struct MountSpec {
  std::string gateway;  // empty: the configured default
  Secret token;
  std::string workspace;
  std::string mountpoint;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  SquashWho squash = SquashWho::kNobody;
  uint32_t anonymous_uid = kAnonymous;
  uint32_t anonymous_gid = kAnonymous;
  bool read_only = false;
  bool passthrough = true;
  bool relatime = false;       // reading moves times of access, as needed
  bool fsync_local = false;    // fsync waits for the disk of this host, not for the gateway
  std::string backend;         // "fuse", "nfs"; "auto": nfs if fuse is not to be had
  bool serve_only = false;     // nfs: who asks mounts it, with what status tells
  bool nfs_auth_none = false;  // nfs: who has no credentials may mount it as well
  bool verbose = false;
  // Empty, or nothing: as configured.
  std::string virtual_nodes;
  std::string compression;
  std::optional<std::string> access_session;
  std::optional<bool> access_log;
};

// How often something took how long: element b counts [2^b, 2^(b+1)) nanoseconds.
using LatencyCounts = std::vector<uint64_t>;

struct MountStatus {
  std::string mountpoint;
  std::string workspace;
  std::string gateway;
  std::string backend;
  bool read_only = false;
  bool passthrough = false;
  bool fsync_local = false;
  bool relatime = false;
  SquashWho squash = SquashWho::kNobody;
  uint32_t frontend_pid = 0;
  uint32_t owner_uid = 0;
  std::string state;
  uint64_t frontend_rss_bytes = 0;
  uint64_t ready_us = 0;
  uint64_t frontend_restarts = 0;
  std::string problem;  // why it is recovering or dead
  uint64_t frontend_up_ms = 0;
  std::string last_end;  // how the last frontend that was replaced had ended
  // Of backend nfs.
  std::string nfs_host;
  uint32_t nfs_port = 0;
  std::string nfs_path;
  std::string nfs_command;  // empty: it is mounted
  uint64_t dirty_bytes = 0;
  std::map<std::string, uint64_t> counters;
  std::map<std::string, uint64_t> latency_p50_ns;
  std::map<std::string, uint64_t> latency_p99_ns;
  std::map<std::string, LatencyCounts> latencies;
};

struct SessionStatus {
  std::string workspace;
  std::string workspace_id;
  std::string gateway;
  std::string principal;
  std::string state;
  std::string protocol;  // "v1", "v2"
  bool write_lease = false;
  std::vector<std::string> leased_directories = {};  // paths, without the lease of all
  uint64_t dirty_bytes = 0;
  uint64_t pending_mutations = 0;
  uint64_t oldest_dirty_ms = 0;
  std::string last_error;
  uint64_t fetched_bytes = 0;
  uint64_t uploaded_bytes = 0;
  uint64_t gateway_calls = 0;
  uint64_t cached_inodes = 0;
  uint64_t cached_dentries = 0;
  uint64_t slab_bytes = 0;
  uint64_t content_file_bytes = 0;
  uint32_t mounts = 0;
  bool access_log = false;  // the gateway is told what is read
  uint64_t access_sent = 0;
  uint64_t access_dropped = 0;
  uint64_t access_waiting = 0;
  // Of the connection, which all sessions with the gateway share.
  uint64_t unanswered_calls = 0;
  std::string gateway_error;  // why it does not answer; empty: it does
  LatencyCounts call_latencies;
  uint64_t journal_bytes = 0;
  uint64_t refused_changes = 0;
};

// What an unmounted mount leaves to be sent.
struct LeftUnsent {
  uint64_t changes = 0;
  uint64_t bytes = 0;
  std::string why;
};

struct DirtyFile {
  std::string workspace;
  std::string path;  // empty: no name is known
  uint64_t inode = 0;
  uint64_t bytes = 0;
  uint64_t age_ms = 0;
  int error = 0;
  bool earlier = false;  // all that is left from an earlier session, without names
};

struct Evicted {
  uint64_t files = 0;
  uint64_t bytes = 0;       // freed
  uint64_t kept_files = 0;  // in use, or not at the gateway
  uint64_t kept_bytes = 0;
};

// Of lost+found.
struct LostFile {
  std::string id;
  std::string workspace;
  std::string path;
  std::string what;
  uint64_t inode = 0;
  uint64_t bytes = 0;
  int error = 0;
  int64_t time_ns = 0;  // wall clock
  bool content = false;
  std::string location;
};

struct BrokerStatus {
  uint64_t uptime_ms = 0;
  uint64_t rss_bytes = 0;
  uint64_t wakeups = 0;
  std::string state_dir;
  bool passthrough = false;
  uint64_t spool_bytes = 0;
  uint64_t spool_limit = 0;
  bool spool_full = false;
  uint64_t lost_items = 0;
  uint64_t lost_bytes = 0;
  uint64_t clock_sets = 0;  // times that somebody set the clock of this host
  int64_t clock_jump_ms = 0;
  uint64_t clock_set_ago_ms = 0;
  uint64_t torn_journals = 0;  // ended in the middle of a record when we started
  std::string metrics;         // where they are served; empty: nowhere
  std::vector<SessionStatus> sessions;
  std::vector<MountStatus> mounts;
};

// A final answer or a failure for people.
template <typename T>
struct Outcome {
  std::optional<T> value;
  Failure failure;  // when there is no value
};
struct Nothing {};

using ProgressFn = std::function<void(const std::string& message, uint64_t done, uint64_t total)>;

class BrokerApi {
 public:
  virtual ~BrokerApi() = default;
  virtual Task<Outcome<MountStatus>> Mount(const Caller& caller, const MountSpec& spec,
                                           ProgressFn progress) = 0;
  // Without `force` it stays mounted while it is in use or has changes that the gateway does not
  // take; with it, nothing is waited for.
  virtual Task<Outcome<LeftUnsent>> Unmount(const Caller& caller, const std::string& mountpoint,
                                            bool force, ProgressFn progress) = 0;
  // Of the caller's mounts, or of all for root. `mountpoint` empty: every one.
  virtual Outcome<BrokerStatus> Status(const Caller& caller, const std::string& mountpoint) = 0;
  // Files with changes that are not at the gateway. `mountpoint` empty: of all the caller may see,
  // and for who governs the broker, of what is left from earlier ones.
  virtual Task<Outcome<std::vector<DirtyFile>>> Dirty(const Caller& caller,
                                                      const std::string& mountpoint) = 0;
  // Waits until they are. `timeout_ms` 0: for ever; kDirty when it is over.
  virtual Task<Outcome<Nothing>> Flush(const Caller& caller, const std::string& mountpoint,
                                       uint64_t timeout_ms, ProgressFn progress) = 0;
  // Gives up what is cached of the files at or below that absolute path in a mount.
  virtual Task<Outcome<Evicted>> Evict(const Caller& caller, const std::string& path) = 0;
  // Hands everything over to another broker, of the program at that path (empty: our own). Returns
  // only when that fails before we have let go; the caller's connection ends otherwise.
  virtual Task<Outcome<Nothing>> Upgrade(const Caller& caller, std::string program,
                                         ProgressFn progress) = 0;
  // What gateways refused for good, and the caller may have.
  virtual Outcome<std::vector<LostFile>> Lost(const Caller& caller) = 0;
  // A piece of such a file from `offset` on; empty at its end.
  virtual Outcome<std::string> ReadLost(const Caller& caller, const std::string& id,
                                        uint64_t offset) = 0;
  virtual Outcome<Nothing> DiscardLost(const Caller& caller, const std::string& id) = 0;
  // Calls of the mount after that number which took at least as long; from now on such ones are
  // noted, until nobody has asked for ten seconds.
  virtual Outcome<TraceAnswer> Trace(const Caller& caller, const std::string& mountpoint,
                                     uint64_t after, int64_t slow_ns) = 0;
  virtual std::string default_gateway() const = 0;
};

}  // namespace airstore::broker
