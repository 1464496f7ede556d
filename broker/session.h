// SPDX-License-Identifier: Apache-2.0
//
// Session: one (gateway, workspace, principal): its shared memory, caches, write-back and mounts.
//
// Threads: the event loop.
// Owns: everything below; declaration order is the reverse of teardown order.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "broker/access_collector.h"
#include "broker/broker_api.h"
#include "broker/contents.h"
#include "broker/evictor.h"
#include "broker/gateway.h"
#include "broker/inode_cache.h"
#include "broker/journal_sync.h"
#include "broker/locks.h"
#include "broker/log_limit.h"
#include "broker/lost_found.h"
#include "broker/mount_port.h"
#include "broker/mutation_log.h"
#include "broker/service_settings.h"
#include "broker/session_journal.h"
#include "broker/session_manifest.h"
#include "broker/spool_budget.h"
#include "broker/tree.h"
#include "broker/virtual/virtual_tree.h"
#include "broker/watcher.h"

namespace airstore::broker {

struct SessionOptions {
  std::string gateway_address;
  std::string spool;      // the session's own directory, exists
  std::string store_dir;  // for directories of content files; empty: in the spool
  uint32_t inode_limit = 1u << 20;
  uint64_t slab_limit = 512ull << 20;
  uint64_t content_limit = 8ull << 30;
  int64_t debounce_ns = 500'000'000;
  int64_t debounce_max_ns = 2'000'000'000;
  int64_t io_timeout_ns = 30'000'000'000;
  SpoolBudget* budget = nullptr;
  boost::asio::thread_pool* fetchers = nullptr;  // see ContentsOptions
  std::function<void()> on_lost;                 // something was put into lost+found
  ServiceSettings services;
  std::string tool_socket_directory;
  std::string shim;  // path of airstore-shim; empty: there is none
};

// Shared memory of a dead broker.
struct LeftTables {
  std::unique_ptr<shm::Segment> meta;
  std::vector<std::unique_ptr<shm::Segment>> slabs;
  std::set<uint32_t> mounts;  // indexes of those that go on
};

class Session {
 public:
  // `opened`: what the gateway answered when the session was opened on it.
  static Result<std::unique_ptr<Session>> Create(boost::asio::any_io_executor executor,
                                                 boost::asio::thread_pool* workers,
                                                 std::shared_ptr<Gateway> gateway,
                                                 const shm::SessionId& id,
                                                 const OpenedSession& opened,
                                                 const SessionOptions& options);
  // Goes on with a session whose broker has died, whether the gateway is there or not. Then the
  // mounts are adopted, then FinishAdoption is called, all before the loop runs on. EPROTO when
  // what was left does not fit together; nothing is lost then.
  static Result<std::unique_ptr<Session>> Adopt(boost::asio::any_io_executor executor,
                                                boost::asio::thread_pool* workers,
                                                std::shared_ptr<Gateway> gateway,
                                                const SessionManifest& manifest, LeftTables tables,
                                                const SessionOptions& options);
  void FinishAdoption();
  ~Session();

  const shm::SessionId& id() const { return id_; }
  const std::string& workspace() const { return opened_.workspace_name; }
  const std::string& workspace_id() const { return opened_.workspace_id; }
  const std::string& principal() const { return opened_.principal; }
  const std::string& gateway_address() const { return options_.gateway_address; }
  const std::string& spool() const { return options_.spool; }
  const std::string& store_dir() const { return options_.store_dir; }
  std::string content_directory() const {
    return ContentDirectory(options_.spool, options_.store_dir, id_);
  }
  bool read_only() const { return opened_.read_only; }

  InodeCache& inodes() { return *inodes_; }
  Contents& contents() { return *contents_; }
  MutationLog& log() { return *log_; }
  Tree& tree() { return *tree_; }
  Locks& locks() { return *locks_; }
  AccessCollector& access() { return *access_; }
  // nullptr: there is only storage.
  VirtualTree* virtual_tree() { return virtual_.get(); }
  const ServiceSettings& services() const { return options_.services; }
  MountSet& mounts() { return mounts_; }
  // Who has had a mount of it may have what is refused, also when the mount has gone by then.
  void AddOwner(uint32_t uid) { lost_.AddOwner(uid); }
  SpoolBudget& budget() { return *options_.budget; }
  // Of an operation that waits.
  std::chrono::nanoseconds patience() const {
    return std::chrono::nanoseconds(options_.io_timeout_ns);
  }
  Tasks& tasks() { return tasks_; }

  // To be waited for before the first mount: other hosts may have to send their changes first.
  // ETIMEDOUT: one does not.
  Task<Result<void>> Arrive();

  // By which the gateway is spoken to.
  std::string protocol() const { return gateway_->traits().protocol; }
  // The gateway does not take the token any more: what is unsent stays until it gets another one.
  bool refused() const { return gateway_->state() == "refused"; }
  // There is no such workspace any more.
  bool gone() const { return gateway_->state() == "gone"; }
  void SetToken(const std::string& token);
  // What the journal takes on disk may have changed.
  void NoteJournal();

  // From now on SyncJournal holds what it says, for as long as the session lives; the coroutine
  // returns when it does.
  void KeepThroughPowerLoss();
  Task<Result<void>> BeginKeepingThroughPowerLoss();
  // Every change that was made before outlives a loss of power, content excepted, which has its
  // Contents::Sync. After a failure it fails for good: only the gateway is to be relied upon.
  Task<Result<void>> SyncJournal() { return journal_sync_->Sync(); }
  // It ended in the middle of a record when an earlier broker had left it.
  bool journal_torn() const { return journal_torn_; }
  bool journal_failed() const { return journal_sync_->failed(); }

  Task<Result<StatFs>> Statfs();
  // Whether the workspace's quotas leave room for one more inode, or for so many more bytes:
  // EDQUOT. Asks the gateway only when what is known here says that there may be none. What the
  // kernel or another host writes is found by the gateway alone.
  Task<Result<void>> AdmitInode();
  Task<Result<void>> AdmitBytes(uint64_t bytes);
  // Other hosts wait for all of it when they look into a directory that is leased here.
  bool too_much_unsent();
  // Sends what is dirty and waits until the gateway has everything.
  Task<void> Drain();
  bool clean() const { return log_->pending() == 0 && contents_->dirty_bytes() == 0; }
  // Ends the session at the gateway and waits for all of its tasks; it may be destroyed then.
  // REQUIRES: no mounts, clean.
  Task<void> Close();
  SessionStatus Status() const;

 private:
  Session(boost::asio::any_io_executor executor, boost::asio::thread_pool* workers,
          std::shared_ptr<Gateway> gateway, const shm::SessionId& id, const OpenedSession& opened,
          const SessionOptions& options);
  // Makes the parts; `journal` is there already.
  Result<void> Assemble(boost::asio::thread_pool* workers, std::unique_ptr<shm::MetaWriter> meta,
                        const JournalState& left);
  void MakeVirtualTree();
  // What the gateway says of itself has come, or may have changed.
  void NoteOffered();
  void Start();
  void SyncSoon();
  Task<void> SyncLater();
  // Until the gateway knows the session again.
  Task<void> Resume();
  Task<void> KeepAlive();
  Task<Result<StatFs>> AskStatfs();
  Task<void> NoteStatfs();
  // Exactly: with all that was changed here.
  Task<void> CountAll();
  Task<Result<uint64_t>> Reopen();
  void NoteGone();
  // Returns when the gateway has what was written to it.
  Task<void> Publish(uint64_t inode);
  // session_refused.cc
  void Refused(const Mutation& mutation, const std::vector<uint64_t>& subjects, int error);
  Task<Result<std::string>> KeepContent(RefusedContent content);
  // Writes it into lost+found, together with what else comes soon.
  Task<Result<std::string>> AddLost(LostItem item);
  Task<void> WriteLost();
  Task<std::string> LostPath(uint64_t inode);

  boost::asio::any_io_executor executor_;
  Tasks tasks_;
  std::shared_ptr<Gateway> gateway_;
  shm::SessionId id_;
  OpenedSession opened_;
  SessionOptions options_;
  boost::asio::thread_pool* workers_;
  SpoolBudget::Share journal_space_;
  MountSet mounts_;
  std::unique_ptr<VirtualTree> virtual_;
  std::unique_ptr<InodeCache> inodes_;
  std::unique_ptr<SessionJournal> journal_;
  std::unique_ptr<JournalSync> journal_sync_;
  std::unique_ptr<Contents> contents_;
  std::unique_ptr<MutationLog> log_;
  std::unique_ptr<Evictor> evictor_;
  std::unique_ptr<Tree> tree_;
  std::unique_ptr<Locks> locks_;
  std::unique_ptr<AccessCollector> access_;
  std::unique_ptr<Watcher> watcher_;
  std::optional<StatFs> statfs_;
  int64_t statfs_at_ns_ = 0;
  bool statfs_late_ = false;  // the gateway has not answered in time
  size_t asking_statfs_ = 0;
  uint64_t statfs_asked_ = 0;     // questions
  uint64_t statfs_answered_ = 0;  // the last one whose answer is known
  bool too_much_unsent_ = false;
  int64_t unsent_counted_ns_ = 0;
  uint64_t made_since_ = 0;               // inodes, since the gateway told how many there are
  std::optional<RemoteChanges> unheard_;  // until the mounts that go on are told
  std::string refused_;
  uint64_t refusals_ = 0;
  bool journal_torn_ = false;
  struct Losing {
    LostItem item;
    std::optional<Result<void>> done;
  };
  LostFound lost_;
  std::vector<std::shared_ptr<Losing>> losing_;
  bool writing_lost_ = false;
  std::chrono::nanoseconds lost_write_took_{0};
  Event lost_written_;
  std::unordered_map<uint64_t, std::string> refused_names_;  // of creations: nobody else has them
  LogLimit not_resumed_{std::chrono::minutes(1)};
  bool closed_ = false;
  boost::asio::steady_timer keep_alive_timer_;
  bool durable_ = false;
  bool syncing_soon_ = false;
  boost::asio::steady_timer sync_timer_;
};

}  // namespace airstore::broker
