// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/convert.h"

namespace airstore::gateway {
namespace {

CreateOp FromWire(const wire::Create& m) {
  CreateOp op{m.parent(), m.name(), m.inode(),          m.mode(), m.uid(),
              m.gid(),    m.rdev(), m.symlink_target(), {}};
  for (const wire::Xattr& xattr : m.xattrs()) op.xattrs.push_back({xattr.name(), xattr.value()});
  return op;
}

SetAttrOp FromWire(const wire::SetAttr& m) {
  SetAttrOp op;
  op.ino = m.inode();
  if (m.has_mode()) op.mode = m.mode();
  if (m.has_uid()) op.uid = m.uid();
  if (m.has_gid()) op.gid = m.gid();
  if (m.has_size()) op.size = m.size();
  if (m.has_atime_ns()) op.atime_ns = m.atime_ns();
  if (m.has_mtime_ns()) op.mtime_ns = m.mtime_ns();
  if (m.has_ctime_ns()) op.ctime_ns = m.ctime_ns();
  return op;
}

WriteExtent FromWire(const wire::Extent& m) {
  WriteExtent extent{m.offset(), m.length(), {}};
  switch (m.source_case()) {
    case wire::Extent::kData:
      extent.source = std::string_view(m.data());
      break;
    case wire::Extent::kBlock:
      // An id of a wrong size names no block: no source, which validation refuses.
      if (m.block().block_id().size() == 16) {
        extent.source = BlockSource{BlockId::From(m.block().block_id()), m.block().offset()};
      }
      break;
    case wire::Extent::kHole:
      extent.source = HoleSource{};
      break;
    case wire::Extent::SOURCE_NOT_SET:
      break;
  }
  return extent;
}

WriteOp FromWire(const wire::Write& m) {
  WriteOp op;
  op.ino = m.inode();
  op.extents.reserve(static_cast<size_t>(m.extents_size()));
  for (const wire::Extent& extent : m.extents()) op.extents.push_back(FromWire(extent));
  if (m.has_size()) op.size = m.size();
  if (m.has_mtime_ns()) op.mtime_ns = m.mtime_ns();
  return op;
}

}  // namespace

Mutation FromWire(const wire::Mutation& m) {
  Mutation mutation;
  mutation.sequence = m.sequence();
  mutation.time_ns = m.time_ns();
  mutation.stop_on_error = m.stop_on_error();
  mutation.if_inode = m.if_inode();
  mutation.if_content_version = m.if_content_version();
  switch (m.op_case()) {
    case wire::Mutation::kCreate:
      mutation.op = FromWire(m.create());
      break;
    case wire::Mutation::kLink:
      mutation.op = LinkOp{m.link().inode(), m.link().parent(), m.link().name()};
      break;
    case wire::Mutation::kUnlink:
      mutation.op = UnlinkOp{m.unlink().parent(), m.unlink().name(), m.unlink().directory(),
                             m.unlink().inode()};
      break;
    case wire::Mutation::kRename:
      mutation.op =
          RenameOp{m.rename().old_parent(),   m.rename().old_name(),     m.rename().new_parent(),
                   m.rename().new_name(),     m.rename().flags(),        m.rename().whiteout(),
                   m.rename().whiteout_uid(), m.rename().whiteout_gid(), m.rename().inode(),
                   m.rename().exchanged()};
      break;
    case wire::Mutation::kSetattr:
      mutation.op = FromWire(m.setattr());
      break;
    case wire::Mutation::kWrite:
      mutation.op = FromWire(m.write());
      break;
    case wire::Mutation::kSetxattr:
      mutation.op = SetXattrOp{m.setxattr().inode(),
                               m.setxattr().name(),
                               m.setxattr().value(),
                               m.setxattr().flags(),
                               {}};
      if (m.setxattr().has_mode()) std::get<SetXattrOp>(mutation.op).mode = m.setxattr().mode();
      break;
    case wire::Mutation::kRemovexattr:
      mutation.op = RemoveXattrOp{m.removexattr().inode(), m.removexattr().name()};
      break;
    case wire::Mutation::kTouch:
      mutation.op = TouchOp{m.touch().inode()};
      break;
    case wire::Mutation::OP_NOT_SET:
      break;
  }
  return mutation;
}

LockWish FromWire(const wire::LockRequest& m, const SessionId& session) {
  LockWish wish;
  wish.ino = m.inode();
  wish.flock = m.flock();
  wish.test_only = m.test_only();
  wish.wait = m.wait();
  wish.process = m.process();
  wish.lock.owner = {session, m.owner()};
  wish.lock.mode = m.type() == wire::LOCK_TYPE_EXCLUSIVE ? LockMode::kExclusive
                   : m.type() == wire::LOCK_TYPE_SHARED  ? LockMode::kShared
                                                         : LockMode::kUnlock;
  if (!m.flock()) {
    wish.lock.start = m.start();
    wish.lock.end = m.end();
  }
  wish.lock.pid = m.pid();
  return wish;
}

void ToWire(const Inode& inode, wire::Attr* attr) {
  attr->set_inode(inode.ino);
  attr->set_generation(1);
  attr->set_mode(inode.mode);
  attr->set_uid(inode.uid);
  attr->set_gid(inode.gid);
  attr->set_nlink(inode.nlink);
  attr->set_size(inode.size);
  attr->set_rdev(inode.rdev);
  attr->set_atime_ns(inode.atime_ns);
  attr->set_mtime_ns(inode.mtime_ns);
  attr->set_ctime_ns(inode.ctime_ns);
  attr->set_btime_ns(inode.btime_ns);
  attr->set_version(inode.version);
  attr->set_content_version(inode.content_version);
  if (!inode.symlink_target.empty()) attr->set_symlink_target(inode.symlink_target);
  attr->set_allocated_bytes(inode.allocated);
  attr->set_xattr_count(inode.xattr_count);
  attr->set_parent(inode.parent);
}

void ToWire(ResolvedEntry entry, wire::DirEntry* out) {
  out->set_name(std::move(entry.name));
  ToWire(entry.inode, out->mutable_attr());
  out->set_content_inlined(entry.inlined);
  if (entry.inlined) out->set_content(std::move(entry.content));
}

void ToWire(Listed listed, wire::Listing* out) {
  ToWire(listed.directory, out->mutable_directory());
  out->set_end(listed.end);
  out->mutable_entries()->Reserve(static_cast<int>(listed.entries.size()));
  for (ResolvedEntry& entry : listed.entries) ToWire(std::move(entry), out->add_entries());
}

void ToWire(const MutationOutcome& outcome, wire::MutationResult* out) {
  out->set_sequence(outcome.sequence);
  out->set_error(outcome.error);
  for (const InodeVersion& v : outcome.versions) {
    wire::InodeVersion* version = out->add_versions();
    version->set_inode(v.ino);
    version->set_version(v.version);
    version->set_content_version(v.content_version);
  }
}

void ToWire(const HubEvent& event, wire::WatchEvent* out) {
  out->Clear();
  out->set_cursor(event.cursor);
  if (event.gap) {
    out->set_gap(true);
  } else if (event.lease_recall != 0) {
    out->set_lease_recall(event.lease_recall);
  } else if (event.lock_freed != 0) {
    out->set_lock_freed(event.lock_freed);
  } else if (event.forget != 0) {
    out->set_forget(event.forget);
  } else if (event.changes != nullptr) {
    wire::Invalidation* changed = out->mutable_changed();
    for (const InodeNo ino : event.changes->inodes) changed->add_inodes(ino);
    for (const ChangeSet::Name& name : event.changes->names) {
      wire::NameRef* ref = changed->add_names();
      ref->set_parent(name.parent);
      ref->set_name(name.name);
    }
  }
}

void ToWire(const LockSpec& lock, wire::LockRequest* out) {
  out->set_type(lock.mode == LockMode::kExclusive ? wire::LOCK_TYPE_EXCLUSIVE
                                                  : wire::LOCK_TYPE_SHARED);
  out->set_start(lock.start);
  out->set_end(lock.end);
  out->set_pid(lock.pid);
}

void ToWire(const Workspace& workspace, wire::Workspace* out) {
  out->set_id(workspace.id);
  out->set_name(workspace.name);
  out->set_created_ns(workspace.created_ns);
  out->set_used_bytes(workspace.used_bytes);
  out->set_inodes(workspace.inodes);
  out->set_quota_bytes(workspace.quota_bytes);
  out->set_quota_inodes(workspace.quota_inodes);
}

void ToWire(const TokenRecord& token, wire::Token* out) {
  out->set_id(token.id);
  out->set_workspace(token.workspace_name);
  out->set_principal(token.principal);
  out->set_read_only(token.read_only);
  out->set_created_ns(token.created_ns);
  out->set_revoked_ns(token.revoked_ns);
}

void ToWire(AccessEvent event, wire::AccessEvent* out) {
  out->set_ts_ms(event.ts_ms);
  out->set_path(std::move(event.path));
  out->set_session(std::move(event.session));
  out->set_mount(std::move(event.mount));
  out->set_origin(std::move(event.origin));
  out->set_cache_source(std::move(event.cache_source));
  out->set_offset(event.offset);
  out->set_requested_bytes(event.requested_bytes);
  out->set_read_bytes(event.read_bytes);
  out->set_latency_ms(event.latency_ms);
  out->set_outcome(std::move(event.outcome));
  out->set_error(std::move(event.error));
  out->set_source_uri(std::move(event.source_uri));
  out->set_fetch_ms(event.fetch_ms);
}

void ToWire(const CheckState& state, wire::CheckStoreResponse* out) {
  out->set_finished(state.finished);
  out->set_error(state.error);
  out->set_phase(state.phase);
  out->set_done(state.done);
  out->set_total(state.total);
  wire::CheckTotals& totals = *out->mutable_totals();
  totals.set_workspaces(state.totals.workspaces);
  totals.set_inodes(state.totals.inodes);
  totals.set_blocks(state.totals.blocks);
  totals.set_content_bytes(state.totals.content_bytes);
  totals.set_damages(state.totals.damages);
  totals.set_repaired(state.totals.repaired);
  totals.set_lost_bytes(state.totals.lost_bytes);
  totals.set_removed_blocks(state.totals.removed_blocks);
  totals.set_removed_bytes(state.totals.removed_bytes);
}

void ToWire(const Damage& damage, wire::Damage* out) {
  out->set_kind(damage.kind);
  out->set_workspace(damage.workspace);
  out->set_inode(damage.ino);
  out->set_path(damage.path);
  out->set_block(damage.block);
  out->set_offset(damage.offset);
  out->set_lost_bytes(damage.lost_bytes);
  out->set_what(damage.what);
  out->set_remedy(damage.remedy);
  out->set_repaired(damage.repaired);
}

}  // namespace airstore::gateway
