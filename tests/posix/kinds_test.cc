// SPDX-License-Identifier: Apache-2.0
//
// Every call that takes a path, on every kind of file, as everybody.
#include "tests/posix/calls.h"

namespace airstore::posix {
namespace {

class KindsOfFiles : public Lockstep {
 protected:
  // The directory is everybody's, so it is the file that decides.
  void AddAll(const Caller& caller, mode_t mode) {
    for (const PathCall& call : PathCalls()) {
      for (const Kind& kind : Kinds()) {
        Add({call.name + ", " + kind.name,
             [&kind, mode] {
               MakeFile("source", 0644);
               GiveTo("source", Owner());
               kind.make("it", mode);
               if (kind.name != "nothing") {
                 GiveTo("it", Owner());
                 SetOldTimes("it");
               }
             },
             caller, [&call] { return call.run("it"); }});
      }
    }
  }
};

const std::set<int> kForAll{0, ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, EINVAL, ELOOP, ENXIO};

std::set<int> With(std::set<int> errors, std::initializer_list<int> more) {
  errors.insert(more);
  return errors;
}

TEST_F(KindsOfFiles, AsRoot) {
  AddAll(Root(), 0644);
  AddAll(Root(), 0);
  Run(With(kForAll, {EPERM, EACCES}));
}

TEST_F(KindsOfFiles, AsTheOwner) {
  AddAll(Owner(), 0644);
  AddAll(Owner(), 0477);
  Run(With(kForAll, {EPERM, EACCES}));
}

TEST_F(KindsOfFiles, AsAMemberOfTheGroup) {
  AddAll(Member(), 0664);
  AddAll(Member(), 0707);
  Run(With(kForAll, {EPERM, EACCES}));
}

TEST_F(KindsOfFiles, AsSomebodyElse) {
  AddAll(Other(), 0646);
  AddAll(Other(), 0770);
  Run(With(kForAll, {EPERM, EACCES}));
}

}  // namespace
}  // namespace airstore::posix
