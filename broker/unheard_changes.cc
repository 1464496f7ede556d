// SPDX-License-Identifier: Apache-2.0
#include "broker/unheard_changes.h"

#include <set>

namespace airstore::broker {
namespace {

class Collector {
 public:
  void Add(const MutationRecord& record) {
    std::visit([this](const auto& op) { Visit(op); }, record.mutation.op);
    for (const uint64_t inode : record.subjects) AddAttributes(inode);
  }
  void AddData(uint64_t inode) {
    if (data_.insert(inode).second) changes_.data.push_back(inode);
  }
  RemoteChanges Take() {
    changes_.names.assign(names_.begin(), names_.end());
    changes_.listings.assign(listings_.begin(), listings_.end());
    for (const uint64_t inode : attributes_) {
      if (!data_.contains(inode)) changes_.attributes.push_back(inode);
    }
    return std::move(changes_);
  }

 private:
  void AddAttributes(uint64_t inode) {
    if (inode != 0) attributes_.insert(inode);
  }
  void AddName(uint64_t parent, const std::string& name) {
    names_.emplace(parent, name);
    listings_.insert(parent);
  }
  void Visit(const CreateOp& op) { AddName(op.parent, op.name); }
  void Visit(const LinkOp& op) {
    AddName(op.parent, op.name);
    AddAttributes(op.inode);
  }
  void Visit(const UnlinkOp& op) {
    AddName(op.parent, op.name);
    AddAttributes(op.inode);
  }
  void Visit(const RenameOp& op) {
    AddName(op.old_parent, op.old_name);
    AddName(op.new_parent, op.new_name);
  }
  void Visit(const SetattrOp& op) {
    if (op.size) AddData(op.inode);
    AddAttributes(op.inode);
  }
  void Visit(const WriteOp& op) { AddData(op.inode); }
  void Visit(const TouchOp& op) { AddAttributes(op.inode); }
  void Visit(const SetXattrOp& op) { AddAttributes(op.inode); }
  void Visit(const RemoveXattrOp& op) { AddAttributes(op.inode); }

  RemoteChanges changes_;
  std::set<std::pair<uint64_t, std::string>> names_;
  std::set<uint64_t> listings_;
  std::set<uint64_t> attributes_;
  std::set<uint64_t> data_;
};

}  // namespace

RemoteChanges UnheardChanges(const JournalState& left) {
  Collector collector;
  for (const auto& [inode, attached] : left.contents.entries()) {
    if (attached.dirty) collector.AddData(inode);
  }
  for (const auto& [ticket, record] : left.pending) collector.Add(record);
  return collector.Take();
}

}  // namespace airstore::broker
