// SPDX-License-Identifier: Apache-2.0
//
// VirtualOverlay: the gateway as the namespace and the caches see it: storage, with virtual nodes
// beside it. What is asked about inodes of the virtual range is answered by nodes, everything else
// is passed on. So virtual files live in the same tables, slabs and content files as others, and
// frontends know nothing of them.
//
// Listings are kept here. After their node's Lifetime their directory is marked stale, once: who
// looks next asks, and is answered from a new listing, or, when the gateway does not answer within
// a second, from the old one. What differs is told to the kernels like changes of another host.
// Nothing runs while nobody looks.
//
// Threads: the event loop.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "broker/gateway.h"
#include "broker/virtual/registry.h"

namespace airstore::broker {

class VirtualOverlay final : public Gateway {
 public:
  struct Options {
    bool over_storage = false;  // names are there always, in front of storage's of the same name
    int64_t patience_ns = 30'000'000'000;
  };
  // Tells that these are not what they were (Tree::ApplyRemote).
  using Changed =
      std::function<Task<void>(std::vector<uint64_t> inodes, std::vector<WatchEvent::Name> names)>;

  VirtualOverlay(boost::asio::any_io_executor executor, Tasks* tasks,
                 std::shared_ptr<Gateway> storage, VirtualRegistry registry, Options options);

  void OnChanged(Changed changed) { changed_ = std::move(changed); }
  // Whose they are.
  void SetOwner(uint32_t uid, uint32_t gid);
  // Paths of virtual inodes in the tables of a dead broker. Before anything is asked.
  void Adopt(const std::unordered_map<uint64_t, std::string>& paths);
  // Finds out what there is to show. Lookups of the names wait for it for a little.
  void Start();
  // The gateway may have said something else.
  void NoteOffered();
  void Stop();

  // The name of the root is a virtual node's now.
  bool IsShown(const std::string& name) const;
  // Makes the size known of a file that has none yet. True: it had none before.
  Task<Result<bool>> Settle(uint64_t inode);
  // A directory or a file below the virtual directory `parent`.
  Task<Result<void>> Make(uint64_t parent, std::string name, bool directory);
  // What was listed of the directory is not to be believed any more.
  void Expire(uint64_t directory);

  Task<Result<std::vector<ResolveResult>>> Resolve(std::vector<ResolveItem> items) override;
  Task<Result<Fetched>> Fetch(uint64_t inode, uint64_t offset, uint64_t length) override;

  // ---- storage's
  Task<Result<OpenedSession>> Open(const std::string& workspace,
                                   const std::array<uint8_t, 16>& session_id,
                                   bool want_write_lease) override {
    return storage_->Open(workspace, session_id, want_write_lease);
  }
  Task<Result<void>> Close() override { return storage_->Close(); }
  Task<Result<uint64_t>> KeepAlive() override { return storage_->KeepAlive(); }
  Task<Result<AcquiredLease>> AcquireLease(uint64_t inode) override {
    return storage_->AcquireLease(inode);
  }
  Task<Result<void>> ForgetZone(uint64_t zone) override { return storage_->ForgetZone(zone); }
  Task<Result<void>> ReleaseLease(uint64_t lease_id) override {
    return storage_->ReleaseLease(lease_id);
  }
  std::unique_ptr<WatchStream> Watch(uint64_t cursor) override { return storage_->Watch(cursor); }
  Task<Result<void>> AckWatch(uint64_t cursor) override { return storage_->AckWatch(cursor); }
  Task<Result<std::pair<uint64_t, uint64_t>>> AllocateInodes(uint64_t count) override {
    return storage_->AllocateInodes(count);
  }
  Task<Result<void>> PutBlock(const BlockId& id, std::string data) override {
    return storage_->PutBlock(id, std::move(data));
  }
  Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch, std::vector<uint64_t> leases) override {
    return storage_->Apply(std::move(batch), std::move(leases));
  }
  Task<Result<LockVerdict>> Lock(LockCall call, LockAsk ask) override {
    return storage_->Lock(std::move(call), ask);
  }
  Task<Result<void>> CancelLock(uint64_t wait) override { return storage_->CancelLock(wait); }
  Task<Result<AssertedLocks>> AssertLocks(std::vector<LockCall> held) override {
    return storage_->AssertLocks(std::move(held));
  }
  Task<Result<StatFs>> Statfs() override { return storage_->Statfs(); }
  GatewayTraits traits() const override { return storage_->traits(); }
  std::optional<OfferedServices> offered() const override { return storage_->offered(); }
  void Reconnect() override { storage_->Reconnect(); }
  void SetToken(Secret token) override { storage_->SetToken(std::move(token)); }
  const GatewayCounters& counters() const override { return storage_->counters(); }
  std::string state() const override { return storage_->state(); }

 private:
  struct Directory {
    std::map<std::string, VirtualEntry, std::less<>> entries;
    int64_t changed_ns = 0;  // wall clock
    bool listed = false;
    bool expired = false;
    std::shared_ptr<Event> listing;  // under way
    int error = 0;                   // of the last try
  };
  using DirectoryPtr = std::shared_ptr<Directory>;

  Task<void> Probe();
  // Of a gateway that does not say: when somebody looks at the root, and not too often.
  void ProbeAgain();
  Task<void> ExpireInTime();
  void ExpireAfter(const std::string& path, const VirtualEntry& entry);
  Task<void> AwaitStart();
  // Waits until it is known what is shown.
  Task<void> AwaitProbe();

  DirectoryPtr Known(const std::string& path);
  // A listing that may be believed, or an old one; `fresh`: one that was asked for from now on.
  Task<Result<DirectoryPtr>> List(std::string path, bool fresh = false);
  Task<void> Refresh(std::string path, DirectoryPtr directory);
  void Take(const std::string& path, Directory* directory, std::vector<VirtualEntry> entries);
  void Forget(const std::string& path);
  Task<Result<VirtualEntry>> Find(std::string path);
  VirtualEntry* Remembered(const std::string& path);
  // What its entry has of the content is cached elsewhere now.
  void HandedOut(const std::string& path);
  void Remember(const std::string& path, VirtualEntry entry);
  std::string PathOf(uint64_t inode) const;
  DirEntry Describe(const std::string& path, const VirtualEntry& entry, uint64_t inline_bytes);

  Task<ResolveResult> Answer(ResolveItem item);
  Task<ResolveResult> AnswerList(ListItem item);
  Task<Result<std::vector<ResolveResult>>> ResolveRoot(std::vector<ResolveItem> items);
  void Tell(std::vector<uint64_t> inodes, std::vector<WatchEvent::Name> names);

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  std::shared_ptr<Gateway> storage_;
  VirtualRegistry registry_;
  Options options_;
  Changed changed_;
  uint32_t uid_ = 0;
  uint32_t gid_ = 0;
  bool probed_ = false;
  bool stopping_ = false;
  bool started_ = false;
  Event started_event_;
  Event probe_done_;
  bool probing_ = false;
  int64_t probed_ns_ = 0;
  std::optional<OfferedServices> offered_;  // as it was when we looked last
  boost::asio::steady_timer expiry_timer_;
  bool expiring_ = false;
  std::multimap<int64_t, std::string> expiries_;  // monotonic; paths
  std::map<std::string, DirectoryPtr, std::less<>> directories_;
  std::unordered_map<uint64_t, std::string> paths_;  // of all that was ever told
};

}  // namespace airstore::broker
