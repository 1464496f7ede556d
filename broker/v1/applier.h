// SPDX-License-Identifier: Apache-2.0
//
// Applier: carries changes out at a v1 gateway, one after the other, each once as far as v1 allows.
//
// That a change begins is on record before it changes anything, and what came of it. One that had
// begun when its broker died, or the connection, is looked at before it is made again: what it
// would have done may be there. What v1 makes of calls that POSIX refuses (removing what is not
// there or not empty, making what exists) is looked at before, so another host may come in between.
//
// Threads: the event loop.
// Fails: as Gateway::Apply.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "broker/v1/content_writer.h"
#include "broker/v1/renamer.h"
#include "broker/v1/resolver.h"
#include "broker/v1/site.h"

namespace airstore::broker::v1 {

class Applier {
 public:
  Applier(Site* site, Resolver* resolver)
      : site_(site), resolver_(resolver), writer_(site), renamer_(site, resolver) {}

  Task<Result<std::vector<MutationResult>>> Apply(
      std::shared_ptr<const std::vector<Mutation>> batch);

 private:
  using Done = SessionState::Done;

  // An error is of the call; what the gateway refused for good is in the value.
  Task<Result<Done>> One(const Mutation* mutation);
  Task<Result<void>> Make(const Mutation* mutation, bool again, Done* done);
  Task<Result<void>> Create(const CreateOp* op, bool again);
  Task<Result<void>> Unlink(const UnlinkOp* op, bool again);
  Task<Result<void>> Setattr(const Mutation* mutation, const SetattrOp* op, bool again, Done* done);
  Task<Result<void>> Write(const Mutation* mutation, const WriteOp* op, bool again, Done* done);
  Task<Result<void>> Chmod(std::string path, Info info, uint32_t mode);
  Task<Result<bool>> KeepsModes(std::string directory);
  // ESTALE: the content is not the one that the change is made of.
  Result<void> Check(const Mutation& mutation, const Info& info, bool again) const;
  // What the file is like after a change of its content; `expected`: its size.
  Task<Result<void>> NoteContent(const Mutation* mutation, uint64_t inode, std::string path,
                                 uint64_t expected, Done* done);

  Site* site_;
  Resolver* resolver_;
  ContentWriter writer_;
  Renamer renamer_;
  std::optional<bool> keeps_modes_;
};

}  // namespace airstore::broker::v1
