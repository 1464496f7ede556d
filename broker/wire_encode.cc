// SPDX-License-Identifier: Apache-2.0
#include "broker/wire_encode.h"

namespace airstore::broker {
namespace {

namespace wire = storage::v2;

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

void EncodeExtent(const WriteExtent& from, wire::Extent* to) {
  to->set_offset(from.offset);
  to->set_length(from.length);
  std::visit(Overloaded{[to](const std::string& data) { to->set_data(data); },
                        [to](const std::pair<BlockId, uint64_t>& block) {
                          to->mutable_block()->set_block_id(block.first.bytes.data(),
                                                            block.first.bytes.size());
                          to->mutable_block()->set_offset(block.second);
                        },
                        [to](std::monostate) { to->set_hole(true); }},
             from.source);
}

void EncodeOp(const CreateOp& op, wire::Mutation* to) {
  wire::Create* out = to->mutable_create();
  out->set_parent(op.parent);
  out->set_name(op.name);
  out->set_inode(op.inode);
  out->set_mode(op.mode);
  out->set_uid(op.uid);
  out->set_gid(op.gid);
  out->set_rdev(op.rdev);
  out->set_symlink_target(op.symlink_target);
  for (const auto& [name, value] : op.xattrs) {
    wire::Xattr* xattr = out->add_xattrs();
    xattr->set_name(name);
    xattr->set_value(value);
  }
}
void EncodeOp(const LinkOp& op, wire::Mutation* to) {
  wire::Link* out = to->mutable_link();
  out->set_inode(op.inode);
  out->set_parent(op.parent);
  out->set_name(op.name);
}
void EncodeOp(const UnlinkOp& op, wire::Mutation* to) {
  wire::Unlink* out = to->mutable_unlink();
  out->set_parent(op.parent);
  out->set_name(op.name);
  out->set_directory(op.directory);
  out->set_inode(op.inode);
}
void EncodeOp(const RenameOp& op, wire::Mutation* to) {
  wire::Rename* out = to->mutable_rename();
  out->set_old_parent(op.old_parent);
  out->set_old_name(op.old_name);
  out->set_new_parent(op.new_parent);
  out->set_new_name(op.new_name);
  out->set_flags(op.flags);
  out->set_inode(op.inode);
  out->set_exchanged(op.exchanged);
  if (op.whiteout == 0) return;
  out->set_whiteout(op.whiteout);
  out->set_whiteout_uid(op.whiteout_uid);
  out->set_whiteout_gid(op.whiteout_gid);
}
void EncodeOp(const SetattrOp& op, wire::Mutation* to) {
  wire::SetAttr* out = to->mutable_setattr();
  out->set_inode(op.inode);
  if (op.mode) out->set_mode(*op.mode);
  if (op.uid) out->set_uid(*op.uid);
  if (op.gid) out->set_gid(*op.gid);
  if (op.size) out->set_size(*op.size);
  if (op.atime_ns) out->set_atime_ns(*op.atime_ns);
  if (op.mtime_ns) out->set_mtime_ns(*op.mtime_ns);
  if (op.ctime_ns) out->set_ctime_ns(*op.ctime_ns);
}
void EncodeOp(const WriteOp& op, wire::Mutation* to) {
  wire::Write* out = to->mutable_write();
  out->set_inode(op.inode);
  for (const WriteExtent& extent : op.extents) EncodeExtent(extent, out->add_extents());
  if (op.size) out->set_size(*op.size);
  if (op.mtime_ns) out->set_mtime_ns(*op.mtime_ns);
}
void EncodeOp(const TouchOp& op, wire::Mutation* to) { to->mutable_touch()->set_inode(op.inode); }
void EncodeOp(const SetXattrOp& op, wire::Mutation* to) {
  wire::SetXattr* out = to->mutable_setxattr();
  out->set_inode(op.inode);
  out->set_name(op.name);
  out->set_value(op.value);
  if (op.mode) out->set_mode(*op.mode);
}
void EncodeOp(const RemoveXattrOp& op, wire::Mutation* to) {
  to->mutable_removexattr()->set_inode(op.inode);
  to->mutable_removexattr()->set_name(op.name);
}

}  // namespace

void EncodeItem(ResolveItem&& from, wire::ResolveItem* to) {
  std::visit(Overloaded{[to](LookupItem& item) {
                          wire::LookupItem* out = to->mutable_lookup();
                          out->set_parent(item.parent);
                          out->set_name(std::move(item.name));
                          out->set_inline_bytes(item.inline_bytes);
                        },
                        [to](GetattrItem& item) {
                          to->mutable_getattr()->set_inode(item.inode);
                          to->mutable_getattr()->set_inline_bytes(item.inline_bytes);
                        },
                        [to](ListItem& item) {
                          wire::ListItem* out = to->mutable_list();
                          out->set_inode(item.inode);
                          out->set_after(std::move(item.after));
                          out->set_inline_bytes(item.inline_bytes);
                          out->set_inline_budget_bytes(item.inline_budget);
                        },
                        [to](XattrsItem& item) {
                          to->mutable_listxattr()->set_inode(item.inode);
                          to->mutable_listxattr()->set_values(true);
                        },
                        [to](LayoutItem& item) {
                          to->mutable_layout()->set_inode(item.inode);
                          to->mutable_layout()->set_offset(item.offset);
                          to->mutable_layout()->set_blocks(item.blocks);
                        }},
             from);
}

void EncodeMutation(const Mutation& from, wire::Mutation* to) {
  to->set_sequence(from.sequence);
  to->set_time_ns(from.time_ns);
  to->set_if_inode(from.if_inode);
  to->set_if_content_version(from.if_content_version);
  std::visit([to](const auto& op) { EncodeOp(op, to); }, from.op);
}

uint64_t InlineBytes(const std::vector<Mutation>& batch) {
  uint64_t total = 0;
  for (const Mutation& mutation : batch) {
    const auto* write = std::get_if<WriteOp>(&mutation.op);
    if (write == nullptr) continue;
    for (const WriteExtent& extent : write->extents) {
      if (const auto* data = std::get_if<std::string>(&extent.source)) total += data->size();
    }
  }
  return total;
}

void EncodeLock(const LockCall& call, wire::LockRequest* to) {
  to->set_inode(call.inode);
  to->set_flock(call.flock);
  switch (call.range.type) {
    case LockType::kUnlock:
      to->set_type(wire::LOCK_TYPE_UNLOCK);
      break;
    case LockType::kShared:
      to->set_type(wire::LOCK_TYPE_SHARED);
      break;
    case LockType::kExclusive:
      to->set_type(wire::LOCK_TYPE_EXCLUSIVE);
      break;
  }
  to->set_start(call.range.first);
  to->set_end(call.range.last);
  to->set_owner(std::to_string(call.range.owner.mount) + "." + std::to_string(call.range.owner.id));
  to->set_pid(call.range.pid);
}

}  // namespace airstore::broker
