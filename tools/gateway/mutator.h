// SPDX-License-Identifier: Apache-2.0
//
// What each mutation means: the POSIX rules, once, above every metadata engine.
//
// Each operation checks everything first and changes something only then. So a mutation that fails
// has changed nothing, without savepoints, which not every engine has.
//
// Threads: one at a time.
// Ownership: borrows the working tree. Run() appends to the outcome's versions and to changes().
#pragma once

#include <string_view>
#include <vector>

#include "tools/gateway/types.h"
#include "tools/gateway/working_tree.h"

namespace airstore::gateway {

class Mutator {
 public:
  // `workspace`: as it was when the transaction began; its quotas hold.
  Mutator(WorkingTree& tree, const SessionId& session, const Workspace& workspace)
      : tree_(tree), session_(session), workspace_(workspace) {}

  // REQUIRES: CheckMutation(mutation) == 0, and no inline data (packed into blocks before).
  // Answers 0 or an errno.
  int Run(const Mutation& mutation, std::vector<InodeVersion>* versions);

  // Drops an inode that has no name and whose session is gone.
  void DropOrphan(InodeNo ino);

  // For repairs, which write what the operations above cannot: new version, reported to watchers;
  // of a directory one of whose names was changed, also its times.
  void Changed(Inode& inode);
  void NameChanged(Inode& parent, std::string_view name);

  ChangeSet TakeChanges();

 private:
  int Do(std::monostate) { return 0; }
  int Do(const CreateOp& op);
  int Do(const LinkOp& op);
  int Do(const UnlinkOp& op);
  int Do(const RenameOp& op);
  int Do(const SetAttrOp& op);
  int Do(const WriteOp& op);
  int Do(const SetXattrOp& op);
  int Do(const RemoveXattrOp& op);
  int Do(const TouchOp& op);

  // Checks.
  int FindDirectory(InodeNo ino, Inode** directory);
  int FindFile(InodeNo ino, Inode** file);  // regular
  bool IsWithin(InodeNo directory, InodeNo ancestor);
  // EDQUOT: so many more would be more than the workspace may have.
  int CheckInodes(uint64_t more) const;
  int CheckBytes(Inode& file, const WriteOp& op);
  int CheckNewInode(InodeNo ino);
  int CheckReplace(const Inode& source, const Inode& target);
  int CheckRename(const RenameOp& op, const Inode& source, const Inode* target);

  // Effects.
  void DropName(Inode& inode);  // one link less; the last one frees it
  void Free(Inode& inode);
  void Add(Inode inode, InodeNo parent, std::string_view name);
  void PutXattr(Inode& inode, std::string_view name, std::string_view value);
  void MoveName(Inode& inode, Inode& from, Inode& to);
  void Exchange(const RenameOp& op, Inode& old_parent, Inode& new_parent, Inode& source,
                Inode& target);
  void Cut(Inode& file, uint64_t start, uint64_t end);
  void Resize(Inode& file, uint64_t size);

  WorkingTree& tree_;
  const SessionId session_;
  const Workspace workspace_;
  int64_t now_ns_ = 0;  // of the mutation that runs
  std::vector<Inode*> touched_;
  ChangeSet changes_;
};

}  // namespace airstore::gateway
