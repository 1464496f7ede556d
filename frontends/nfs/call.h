// SPDX-License-Identifier: Apache-2.0
//
// Call: one call of a client while it is served: who asks, what is still to be decoded, what is
// encoded of the answer; and the steps that many procedures take.
//
// Arguments are decoded into room that lies here, and answers are encoded into the worker's buffer:
// a call allocates nothing, but for symbolic links, access lists, and what the broker does.
// Threads: the worker's.
#pragma once

#include <rpc/rpc.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "frontends/nfs/attributes.h"
#include "frontends/nfs/nfs3.h"
#include "frontends/nfs/rpc_message.h"
#include "frontends/nfs/service.h"
#include "frontends/volume/permissions.h"
#include "frontends/volume/volume.h"

namespace airstore::nfs {

// Takes a reply to its client; the bytes are copied, or refused, when it returns.
class ReplySender {
 public:
  // `head`: what was encoded; `payload` follows it.
  virtual void Send(std::span<const char> head, const iovec* payload, int count) = 0;
  // This call takes its time: others of its client go on. May be called more than once.
  virtual void LetOthersGoOn() = 0;

 protected:
  ~ReplySender() = default;
};

class Call final : public volume::Request, public volume::Groups {
 public:
  Call(Service* service, const CallHead& head, uint64_t unique, ReplySender* sender)
      : service_(*service), identity_(head.identity), unique_(unique), sender_(*sender) {}

  // ---- as the volume sees it
  volume::Caller caller() const override { return {unique_, identity_.uid, identity_.gid, 0, 0}; }
  bool Interrupted() override { return false; }
  void StartWait() override {}
  void EndWait() override {}
  void WillWait() override { sender_.LetOthersGoOn(); }
  bool Contain(uint32_t gid) const override;
  volume::Credentials credentials() const { return {identity_.uid, identity_.gid, this}; }

  Service& service() { return service_; }
  volume::Volume& volume() { return service_.volume; }
  const Identity& identity() const { return identity_; }
  ReplySender& sender() { return sender_; }

  // ---- steps. Each returns what the client is told.
  // The file of a handle and its attributes.
  nfsstat3 Find(const nfs_fh3& handle, volume::Node* node);
  nfsstat3 FindDirectory(const nfs_fh3& handle, volume::Node* node);
  nfsstat3 FindFile(const nfs_fh3& handle, volume::Node* node);
  // As FindFile, without waiting for what is being written: size and times may be of before.
  nfsstat3 FindWritten(const nfs_fh3& handle, volume::Node* node);
  // A name in a directory; nothing is held of it afterwards.
  nfsstat3 FindName(const volume::Node& directory, std::string_view name, volume::Node* node);

  // ---- answers
  nfs_fh3 HandleOf(const shm::InodeRecord& record, FileHandles::Handle* room) const;
  // Attributes as they are now; none when they are not to be had.
  post_op_attr After(uint64_t inode);
  post_op_attr Tell(const shm::InodeRecord& record) const;
  // `before`: of the same inode, before the change. They are told only while nobody else may have
  // changed it in between.
  wcc_data Wcc(const volume::Node* before, uint64_t inode);

 private:
  using Look = int (volume::Volume::*)(volume::Request&, uint64_t, volume::Node*);
  nfsstat3 FindBy(Look look, const nfs_fh3& handle, volume::Node* node);
  // A file without a name is there for as long as some program has it open. That we have, because
  // it was written to a moment ago, does not count. An errno.
  int FindNameless(uint64_t inode, volume::Node* node);

  Service& service_;
  const Identity identity_;
  const uint64_t unique_;
  ReplySender& sender_;
};

// The access list of a file, for a check: read only where there is one.
class Checked {
 public:
  Checked(Call& call, const volume::Node& node);
  volume::Subject subject() const { return {record_, access_acl_}; }
  operator volume::Subject() const { return subject(); }  // NOLINT: what it is for

 private:
  const shm::InodeRecord& record_;
  std::string access_acl_;
};

// Room for arguments of variable length: the decoder fills what it is given.
struct HandleArg {
  HandleArg() = default;
  void Into(nfs_fh3* to) { *to = {0, bytes}; }
  char bytes[NFS3_FHSIZE];
};
struct NameArg {
  void Into(filename3* to) { *to = {0, bytes}; }
  char bytes[AIRSTORE_NAME];
};

inline std::string_view NameOf(const filename3& name) {
  return {name.filename3_val, name.filename3_len};
}
inline bool IsDots(std::string_view name) { return name == "." || name == ".."; }

}  // namespace airstore::nfs
